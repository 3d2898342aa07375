using System.Security.Cryptography;

namespace Appliance.Control.Model;

/// <summary>
/// The cluster's key: 32 random bytes that every box has, and while keys are being changed the next
/// one, which is accepted but not yet used. Its file is text: a header line, the key in base64, and perhaps
/// the next key on a line of its own; blank lines and lines that start with `#` are skipped.
/// </summary>
public sealed record ClusterKey(byte[] Current, byte[]? Next)
{
    /// <summary>Bytes of a key.</summary>
    public const int Length = 32;

    /// <summary>First line of a key file.</summary>
    public const string Header = "appliance cluster key 1";

    /// <summary>A file's text with a new random key.</summary>
    public static string NewText() => $"{Header}\n{Convert.ToBase64String(RandomNumberGenerator.GetBytes(Length))}\n";

    /// <summary>Reads a file's text; null and a sentence if it is malformed.</summary>
    public static ClusterKey? Parse(string text, out string? problem)
    {
        string[] lines = [.. text.Split('\n', 64).Select(l => l.Trim()).Where(l => l.Length > 0 && l[0] != '#')];
        problem = lines.Length == 0 ? "it is empty"
            : lines[0] != Header ? $"its first line is not '{Header}'"
            : lines.Length == 1 ? "it holds no key"
            : lines.Length > 3 ? "it holds more than two keys"
            : null;
        if (problem is not null) return null;
        byte[][] keys = [.. lines.Skip(1).Select(Decode)];
        int bad = Array.FindIndex(keys, k => k.Length != Length);
        if (bad >= 0)
        {
            problem = $"{(bad == 0 ? "its key" : "its next key")} is not {Length} bytes in base64";
            return null;
        }
        return new ClusterKey(keys[0], keys.Length > 1 ? keys[1] : null);
    }

    private static byte[] Decode(string line)
    {
        var bytes = new byte[Length + 3];
        return line.Length <= 48 && Convert.TryFromBase64String(line, bytes, out int written) ? bytes[..written] : [];
    }
}

/// <summary>What became of a key file: a key, or one sentence and its remedy; a warning if others may read or change it.</summary>
public sealed record KeyFileResult(ClusterKey? Key, string? Error, string? Hint, string? Warning);

/// <summary>Reads and makes key files.</summary>
public static class ClusterKeyFile
{
    private const int MaxBytes = 4096;
    private const UnixFileMode Wanted = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead;

    /// <summary>Reads <paramref name="path"/>.</summary>
    public static KeyFileResult Read(string path)
    {
        try
        {
            var info = new FileInfo(path);
            if (!info.Exists)
            {
                return Failed(Directory.Exists(path) ? $"the key file {path} is a directory" : $"there is no key file {path}",
                    "make it with `appliance key new FILE` and copy it to every box");
            }
            if (info.Length > MaxBytes) return Failed($"the key file {path} is too long", hint: null);
            ClusterKey? key = ClusterKey.Parse(File.ReadAllText(path), out string? problem);
            if (key is null) return Failed($"the key file {path} cannot be used: {problem}", "copy it again from a box that works");
            UnixFileMode mode = OperatingSystem.IsWindows() ? Wanted : File.GetUnixFileMode(path);
            string? warning = (mode & ~Wanted) == UnixFileMode.None ? null : $"the key file {path} can be read or changed by others (mode {Convert.ToString((int)mode, 8)})";
            return new KeyFileResult(key, Error: null, warning is null ? null : $"chmod 640 {path}", warning);
        }
        catch (UnauthorizedAccessException)
        {
            return Failed($"the key file {path} cannot be read: permission denied", "it must be readable by the user that runs the appliance");
        }
        catch (Exception e) when (e is IOException or ArgumentException or NotSupportedException)
        {
            return Failed($"the key file {path} cannot be read", hint: null);
        }
    }

    /// <summary>Makes a file with a new key, mode 0600; never over an existing one. Null, or one sentence.</summary>
    public static string? Create(string path)
    {
        try
        {
            if (Path.Exists(path)) return $"{path} exists; it is not overwritten";
            var options = new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write, Share = FileShare.None };
            if (!OperatingSystem.IsWindows()) options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
            using var writer = new StreamWriter(path, options);
            writer.Write(ClusterKey.NewText());
            return null;
        }
        catch (DirectoryNotFoundException)
        {
            return $"{path} cannot be made: there is no such directory";
        }
        catch (UnauthorizedAccessException)
        {
            return $"{path} cannot be made: permission denied";
        }
        catch (Exception e) when (e is IOException or ArgumentException or NotSupportedException)
        {
            return $"{path} cannot be made";
        }
    }

    private static KeyFileResult Failed(string error, string? hint) => new(Key: null, error, hint, Warning: null);
}
