using Appliance.DataPath.Wire;

namespace Appliance.DataPath.Conntrack;

/// <summary>How far one direction of a TCP connection has come. It only grows, so that of two copies the further one is right.</summary>
public enum TcpHalfState : byte
{
    /// <summary>Nothing was seen that belongs to the connection.</summary>
    None,

    /// <summary>Its SYN was seen.</summary>
    Syn,

    /// <summary>Its SYN was acknowledged.</summary>
    Open,

    /// <summary>Its FIN was seen.</summary>
    Fin,

    /// <summary>Its FIN was acknowledged.</summary>
    FinAcknowledged,
}

/// <summary>What both directions make of a connection, by the names that operators know from Linux.</summary>
public enum TcpPhase : byte
{
    SynSent,
    SynReceived,
    Established,
    FinWait,
    CloseWait,
    LastAck,
    TimeWait,
    Closed,
}

/// <summary>What is known of what one end sent.</summary>
public struct TcpHalf
{
    /// <summary>One beyond the last sequence number that it sent.</summary>
    public TcpSeq End;

    /// <summary>One beyond the last one that the other end has offered to take.</summary>
    public TcpSeq Limit;

    /// <summary>The highest that it acknowledged of the other's.</summary>
    public TcpSeq Acknowledged;

    /// <summary>The largest window that it offered, bytes.</summary>
    public uint MaxWindow;

    public TcpHalfState State;

    /// <summary>Shift of its window field; <see cref="NoScale"/> if its SYN had no such option.</summary>
    public byte Scale;

    /// <summary>Its SYN had no window scale.</summary>
    public const byte NoScale = 0xff;
}

/// <summary>A tracked TCP connection: two halves, told apart by who sent the first SYN.</summary>
public struct TcpTrack
{
    public TcpHalf Client, Server;

    /// <summary>A RST ended it.</summary>
    public bool IsReset;

    /// <summary>Its beginning was not seen: windows are not known well enough to refuse anything by them.</summary>
    public bool IsPickedUp;

    /// <summary>What both halves make of it.</summary>
    public readonly TcpPhase Phase
    {
        get
        {
            if (IsReset) return TcpPhase.Closed;
            if (Client.State <= TcpHalfState.Syn && Server.State == TcpHalfState.None) return TcpPhase.SynSent;
            if (Client.State < TcpHalfState.Open || Server.State < TcpHalfState.Open) return TcpPhase.SynReceived;
            bool client = Client.State >= TcpHalfState.Fin, server = Server.State >= TcpHalfState.Fin;
            if (client && server) return Client.State == TcpHalfState.FinAcknowledged && Server.State == TcpHalfState.FinAcknowledged ? TcpPhase.TimeWait : TcpPhase.LastAck;
            if (!client && !server) return TcpPhase.Established;
            return (client ? Client : Server).State == TcpHalfState.FinAcknowledged ? TcpPhase.CloseWait : TcpPhase.FinWait;
        }
    }

    /// <summary>
    /// Takes over what another copy of the same connection (a replica's) knows better. The order in which copies are merged does not matter,
    /// and merging one twice changes nothing.
    /// </summary>
    public void Merge(in TcpTrack other)
    {
        Merge(ref Client, other.Client);
        Merge(ref Server, other.Server);
        IsReset |= other.IsReset;
        IsPickedUp &= other.IsPickedUp;
    }

    private static void Merge(ref TcpHalf half, in TcpHalf other)
    {
        if (other.State == TcpHalfState.None) return;
        if (half.State == TcpHalfState.None)
        {
            half = other;
            return;
        }
        half.End = TcpSeq.Max(half.End, other.End);
        half.Limit = TcpSeq.Max(half.Limit, other.Limit);
        half.Acknowledged = TcpSeq.Max(half.Acknowledged, other.Acknowledged);
        half.MaxWindow = Math.Max(half.MaxWindow, other.MaxWindow);
        if (other.State > half.State) half.State = other.State;
    }
}
