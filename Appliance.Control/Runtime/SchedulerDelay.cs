using System.Buffers.Text;
using Microsoft.Win32.SafeHandles;

namespace Appliance.Control.Runtime;

/// <summary>
/// How long the thread that made this has waited for a processor, ready to run: others ran, or its group's quota was used
/// up (proc(5), /proc/PID/schedstat, second field). Always 0 where the kernel does not count it. Reading allocates nothing.
/// </summary>
internal sealed class SchedulerDelay : IDisposable
{
    private readonly SafeFileHandle? _file;
    private readonly byte[] _text = new byte[96];

    /// <summary>For the calling thread.</summary>
    public SchedulerDelay()
    {
        const string path = "/proc/thread-self/schedstat";
        if (File.Exists(path)) _file = File.OpenHandle(path);
    }

    /// <summary>Nanoseconds since the thread started.</summary>
    public long ReadNs()
    {
        if (_file is null) return 0;
        ReadOnlySpan<byte> text = _text.AsSpan(0, RandomAccess.Read(_file, _text, fileOffset: 0));
        int space = text.IndexOf((byte)' ');
        return space >= 0 && Utf8Parser.TryParse(text[(space + 1)..], out long waited, out _) ? waited : 0;
    }

    /// <inheritdoc/>
    public void Dispose() => _file?.Dispose();
}
