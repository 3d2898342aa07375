using System.Buffers.Binary;
using System.Diagnostics;
using NUnit.Framework;

namespace Appliance.Tests.Wire;

/// <summary>
/// Independent judges of our frames: scapy (of the system's python) and tshark, one process for any
/// number of frames. A test that needs one which is not installed fails, it is not skipped.
/// </summary>
public static class Dissector
{
    // Takes lengths and checksums away, lets scapy compute them anew, and compares every byte.
    private const string Rebuild = """
        import sys
        from scapy.all import Ether
        for line in sys.stdin:
            raw = bytes.fromhex(line.strip())
            p = Ether(raw)
            layer, depth = p.payload, 0
            while layer and depth < 2:
                name = type(layer).__name__
                ip = name in ('IP', 'IPv6')
                for field in ('len', 'plen', 'ihl', 'dataofs', 'chksum', 'cksum'):
                    if field in layer.fields and not (name == 'ARP' or (field == 'len' and 'ND' in name)):
                        delattr(layer, field)
                depth += 0 if ip else 2
                layer = layer.payload
            again = bytes(p)
            print('same' if again == raw else 'differs: ' + p.summary() + ' ' + again.hex(), flush=False)
        """;

    /// <summary>"same" for each frame that scapy would have built just so, else what differs.</summary>
    public static string[] RebuildWithScapy(IReadOnlyList<byte[]> frames)
    {
        string input = string.Join('\n', frames.Select(f => Convert.ToHexString(f))) + "\n";
        string[] lines = Run("/usr/bin/python3", ["-c", Rebuild], input);
        Assert.That(lines, Has.Length.EqualTo(frames.Count), "one verdict a frame");
        return lines;
    }

    /// <summary>Fields of each frame as tshark reads them, all checksums verified; a field that occurs more than once is joined by commas.</summary>
    public static string[][] ReadWithTshark(IReadOnlyList<byte[]> frames, params string[] fields)
    {
        string file = Path.Combine(Path.GetTempPath(), "wire-" + Guid.NewGuid().ToString("N") + ".pcap");
        try
        {
            WritePcap(file, frames);
            var arguments = new List<string> { "-n", "-r", file, "-T", "fields", "-E", "separator=|" };
            foreach (string protocol in new[] { "ip", "tcp", "udp" }) arguments.AddRange(["-o", protocol + ".check_checksum:TRUE"]);
            // Each frame stands for itself: nothing is to be put together or called out of order.
            arguments.AddRange(["-o", "tcp.analyze_sequence_numbers:FALSE", "-o", "tcp.desegment_tcp_streams:FALSE", "-o", "ip.defragment:FALSE"]);
            foreach (string field in fields) arguments.AddRange(["-e", field]);
            string[] lines = Run("tshark", arguments, "");
            Assert.That(lines, Has.Length.EqualTo(frames.Count), "one line a frame");
            return [.. lines.Select(line => line.Split('|'))];
        }
        finally
        {
            File.Delete(file);
        }
    }

    private static void WritePcap(string file, IReadOnlyList<byte[]> frames)
    {
        using FileStream stream = File.Create(file);
        Span<byte> header = stackalloc byte[24];
        header.Clear();
        BinaryPrimitives.WriteUInt32LittleEndian(header, 0xa1b2c3d4);
        BinaryPrimitives.WriteUInt32LittleEndian(header[4..], 0x0004_0002);
        BinaryPrimitives.WriteInt32LittleEndian(header[16..], 262_144);
        BinaryPrimitives.WriteInt32LittleEndian(header[20..], 1);
        stream.Write(header);
        foreach (byte[] frame in frames)
        {
            header[..16].Clear();
            BinaryPrimitives.WriteInt32LittleEndian(header[8..], frame.Length);
            BinaryPrimitives.WriteInt32LittleEndian(header[12..], frame.Length);
            stream.Write(header[..16]);
            stream.Write(frame);
        }
    }

    private static string[] Run(string program, IReadOnlyList<string> arguments, string input)
    {
        var start = new ProcessStartInfo(program, arguments) { UseShellExecute = false, RedirectStandardInput = true, RedirectStandardOutput = true, RedirectStandardError = true };
        using Process process = Process.Start(start) ?? throw new InvalidOperationException(program + " did not start");
        Task<string> output = process.StandardOutput.ReadToEndAsync(), errors = process.StandardError.ReadToEndAsync();
        process.StandardInput.Write(input);
        process.StandardInput.Close();
        process.WaitForExit();
        Assert.That(process.ExitCode, Is.Zero, program + ": " + errors.Result);
        return output.Result.Split('\n', StringSplitOptions.None)[..^1];
    }
}
