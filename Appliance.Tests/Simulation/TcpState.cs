namespace Appliance.Tests.Simulation;

/// <summary>States of RFC 9293 3.3.2; Listen is the host's business.</summary>
internal enum TcpState
{
    Closed,
    SynSent,
    SynReceived,
    Established,
    FinWait1,
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
    TimeWait,
}

/// <summary>How a connection ended at one end.</summary>
internal enum TcpEnd
{
    /// <summary>Still there.</summary>
    None,

    /// <summary>Both FINs acknowledged.</summary>
    Normal,

    /// <summary>The peer sent a RST that we had to believe.</summary>
    Reset,

    /// <summary>The application aborted it.</summary>
    Aborted,

    /// <summary>Too many retransmissions.</summary>
    TimedOut,
}

/// <summary>What a connection tells its application; all calls come after the segment has been dealt with.</summary>
internal abstract class SimApp
{
    public abstract void OnConnected(ModelTcp tcp);

    /// <summary>Bytes, or the end of the peer's stream, are there.</summary>
    public abstract void OnReadable(ModelTcp tcp);

    /// <summary>There is room to write again.</summary>
    public abstract void OnWritable(ModelTcp tcp);

    public abstract void OnEnd(ModelTcp tcp, TcpEnd end);
}
