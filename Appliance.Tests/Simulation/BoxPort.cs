using Appliance.DataPath.Memory;
using Appliance.DataPath.Port;
using Appliance.DataPath.Wire;

namespace Appliance.Tests.Simulation;

/// <summary>
/// A box's port on a simulated LAN, with the contract of <see cref="FramePort"/> kept to the letter: what is lent is read
/// when it is flushed, what is borrowed is overwritten once it is released, so that a frame used too long shows.
/// </summary>
internal sealed class BoxPort(string name, int mtu, bool offloads, Action<FrameRef> send) : FramePort
{
    private const int ArenaBytes = 1 << 20;

    private readonly nint _arena = MemoryNative.Reserve(ArenaBytes);
    private readonly Queue<FrameRef> _waiting = new(1024);
    private readonly List<FrameRef> _borrowed = new(1024), _lent = new(4096);
    private int _used;

    /// <inheritdoc/>
    public override string Name => name;

    /// <inheritdoc/>
    public override int Mtu => mtu;

    /// <inheritdoc/>
    public override bool Offloads => offloads;

    /// <summary>True if a frame waits.</summary>
    public bool HasFrames => _waiting.Count > 0;

    /// <summary>A frame has come from the wire.</summary>
    public void Take(ReadOnlySpan<byte> bytes, in VnetHeader vnet)
    {
        if (_used + bytes.Length > ArenaBytes)
        {
            Counters.ReceiveDrops++;
            return;
        }
        var frame = new FrameRef { Address = _arena + _used, Length = bytes.Length, Vnet = vnet };
        bytes.CopyTo(frame.Bytes);
        _used += (bytes.Length + 63) & ~63;
        _waiting.Enqueue(frame);
    }

    /// <inheritdoc/>
    public override int Receive(FrameBatch batch)
    {
        batch.Clear();
        while (batch.Count < batch.Capacity && _waiting.TryDequeue(out FrameRef frame))
        {
            _borrowed.Add(frame);
            batch.Add(frame);
            Counters.ReceivedFrames++;
            Counters.ReceivedBytes += frame.Length;
        }
        return batch.Count;
    }

    /// <inheritdoc/>
    public override void Release()
    {
        foreach (FrameRef frame in _borrowed) frame.Bytes[..Math.Min(64, frame.Length)].Fill(0xee);
        _borrowed.Clear();
        if (_waiting.Count == 0) _used = 0;
    }

    /// <inheritdoc/>
    public override bool Send(in FrameRef frame)
    {
        if (!offloads && (frame.Vnet.IsSuperFrame || frame.Vnet.NeedsChecksum))
        {
            Counters.SendErrors++;
            return false;
        }
        _lent.Add(frame);
        return true;
    }

    /// <inheritdoc/>
    public override void Flush()
    {
        foreach (FrameRef frame in _lent)
        {
            Counters.SentFrames++;
            Counters.SentBytes += frame.Length;
            send(frame);
        }
        _lent.Clear();
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        if (disposing) MemoryNative.Unreserve(_arena, ArenaBytes);
    }
}
