using System.Text;

namespace Appliance.Control.Model;

/// <summary>Reads configuration files, bounded, with one sentence when that fails.</summary>
public static class ConfigurationFile
{
    /// <summary>Reads and parses <paramref name="path"/>; null and a sentence if it cannot be read.</summary>
    public static ParseResult? Read(string path, out string? problem)
    {
        problem = null;
        try
        {
            if (Directory.Exists(path))
            {
                problem = $"{path} is a directory";
                return null;
            }
            using var reader = new StreamReader(path, Encoding.UTF8);
            // One character more than is allowed lets the parser see that it is too long, whatever the file's size.
            var buffer = new char[ConfigurationParser.MaxText + 1];
            int length = reader.ReadBlock(buffer);
            return ConfigurationParser.Parse(new string(buffer, 0, length), path);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            problem = $"there is no file {path}";
        }
        catch (UnauthorizedAccessException)
        {
            problem = $"{path} cannot be read: permission denied";
        }
        catch (Exception e) when (e is IOException or ArgumentException or NotSupportedException)
        {
            problem = $"{path} cannot be read";
        }
        return null;
    }
}
