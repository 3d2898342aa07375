namespace Appliance.Control.Replication;

/// <summary>What a link has counted since its start; written by the replication thread only.</summary>
public sealed class LinkCounters
{
    /// <summary>Datagrams with records sent, received, counted lost (and their contents sent again), and without records sent.</summary>
    public long DatagramsSent, DatagramsReceived, DatagramsLost, ControlSent;

    /// <summary>Bytes of contents sent; records received; records sent in full transfers.</summary>
    public long BytesSent, RecordsReceived, RecordsInSlices;

    /// <summary>Timeouts without an acknowledgment; full transfers started by us, begun and ended by the peer.</summary>
    public long Timeouts, Resyncs, PeerResyncsBegun, PeerResyncsEnded;

    /// <summary>Times that the cache was full; changes dropped because of that, or because the peer was not live any more.</summary>
    public long Overflows, Dropped;

    /// <summary>How far the peer says it is behind with us: age in microseconds, and records.</summary>
    public uint PeerLagMicros, PeerLagRecords;
}

/// <summary>Estimates how long to wait for an acknowledgment (in the manner of RFC 6298, with bounds of a LAN).</summary>
internal sealed class RoundTrip(long minNs, long maxNs)
{
    private long _variation;
    private int _backOff;

    public long SmoothedNs { get; private set; }

    public long TimeoutNs => Math.Min(Math.Max(minNs, SmoothedNs + 4 * _variation) << _backOff, maxNs);

    public void Sample(long ns)
    {
        if (SmoothedNs == 0)
        {
            (SmoothedNs, _variation) = (ns, ns / 2);
            return;
        }
        _variation += (Math.Abs(ns - SmoothedNs) - _variation) / 4;
        SmoothedNs += (ns - SmoothedNs) / 8;
    }

    public void Progress() => _backOff = 0;

    public void BackOff() => _backOff = Math.Min(_backOff + 1, 10);
}
