namespace Appliance.Control.Runtime;

/// <summary>
/// Which of many log lines about one thing are written: the first few at once, then, as long as they go on, the last one
/// every ten seconds with the number of those left out. So the beginning is never missing, and the last state never late by more than
/// that. One thing is what the caller gives one key. Not thread-safe; the caller brings the time.
/// </summary>
public sealed class LineLimiter<TKey, TLine>(Action<TLine, int> write)
    where TKey : notnull
    where TLine : struct
{
    /// <summary>Lines written at once in a window; its length in milliseconds.</summary>
    public const int Burst = 4, WindowMs = 10_000;

    private readonly Dictionary<TKey, Window> _windows = [];

    /// <summary>A line about <paramref name="key"/>: written now or kept. Kept lines that are due are written first.</summary>
    public void Add(TKey key, in TLine line, long nowMs)
    {
        Flush(nowMs);
        if (!_windows.TryGetValue(key, out Window? window)) _windows[key] = window = new Window { Since = nowMs };
        if (window.Written < Burst)
        {
            window.Written++;
            write(line, 0);
        }
        else
        {
            window.Kept++;
            window.Last = line;
        }
    }

    /// <summary>Writes what is due: of each thing whose window is over the last line kept, and how many were left out beside it.</summary>
    public void Flush(long nowMs)
    {
        foreach ((TKey key, Window window) in _windows)
        {
            // A clock set back ends the window too.
            if (nowMs >= window.Since && nowMs - window.Since < WindowMs) continue;
            if (window.Kept == 0) _windows.Remove(key);
            else Write(window, nowMs);
        }
    }

    /// <summary>Writes everything kept; at the end.</summary>
    public void FlushAll()
    {
        foreach (Window window in _windows.Values)
        {
            if (window.Kept > 0) Write(window, window.Since);
        }
    }

    // It went on to the end of its window: in the next one it may wait again.
    private void Write(Window window, long nowMs)
    {
        int more = window.Kept - 1;
        (window.Since, window.Written, window.Kept) = (nowMs, Burst, 0);
        write(window.Last, more);
    }

    private sealed class Window
    {
        public long Since;
        public int Written, Kept;
        public TLine Last;
    }
}
