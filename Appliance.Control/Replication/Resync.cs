using Appliance.DataPath.State;

namespace Appliance.Control.Replication;

/// <summary>Where an outgoing full transfer is.</summary>
public enum ResyncPhase : byte
{
    /// <summary>None runs.</summary>
    Idle,

    /// <summary>The begin mark waits for its acknowledgment; slices go after it.</summary>
    Beginning,

    /// <summary>Slices go.</summary>
    Slicing,

    /// <summary>All slices are acknowledged; the end mark waits for its acknowledgment.</summary>
    Ending,
}

/// <summary>
/// An outgoing full transfer: reads the table slice by slice, straight into datagrams. Nothing is
/// kept of a slice but its bounds; if it is lost the same stretch is read again, as it then is.
/// The removed ids that are still remembered go first, as stretches below 0, so that removals
/// which the peer missed are made good.
/// </summary>
internal sealed class Resync(int window, int tombstones)
{
    private readonly (long From, long To)[] _again = new (long, long)[window * 2];
    private int _againCount;
    private long _cursor;
    private bool _ended;

    public ResyncPhase Phase { get; set; }

    public ResyncCause Cause { get; private set; }

    /// <summary>Number of this transfer.</summary>
    public uint Number { get; private set; }

    /// <summary>Slices in flight.</summary>
    public int InFlight { get; set; }

    /// <summary>True if there is something to send now.</summary>
    public bool HasWork => Phase == ResyncPhase.Slicing && (_againCount > 0 || !_ended);

    /// <summary>True once every slice has been acknowledged.</summary>
    public bool AllAcknowledged => Phase == ResyncPhase.Slicing && _ended && _againCount == 0 && InFlight == 0;

    public void Start(ResyncCause cause)
    {
        Number++;
        (Phase, Cause, _cursor, _ended, _againCount, InFlight) = (ResyncPhase.Beginning, cause, -tombstones, false, 0, 0);
    }

    public void Stop() => Phase = ResyncPhase.Idle;

    /// <summary>A slice is lost: to be read again.</summary>
    public void Lost(long from, long to)
    {
        if (_againCount < _again.Length) _again[_againCount++] = (from, to);
        else Start(Cause);
    }

    /// <summary>The stretch to read next; To is open (long.MaxValue) beyond the point reached so far.</summary>
    public (long From, long To) NextStretch() => _againCount > 0 ? _again[_againCount - 1] : (_cursor, long.MaxValue);

    /// <summary>What <see cref="NextStretch"/> gave has been read up to <paramref name="reached"/>.</summary>
    public void Advance(long reached, bool end)
    {
        if (_againCount == 0)
        {
            _cursor = reached;
            _ended = end;
        }
        else if (end || reached >= _again[_againCount - 1].To)
        {
            _againCount--;
        }
        else
        {
            _again[_againCount - 1].From = reached;
        }
    }
}
