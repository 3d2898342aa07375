using Appliance.DataPath.State;

namespace Appliance.Control.Replication;

/// <summary>Takes the datagrams that a link wants sent.</summary>
public interface IDatagramSender
{
    /// <summary>Sends to a peer's sync address; a datagram that cannot be sent is lost.</summary>
    void Send(byte peer, ReadOnlySpan<byte> datagram);
}

/// <summary>What a link does with what it learns.</summary>
internal interface ILinkOwner
{
    /// <summary>A record from the peer, each once, in the peer's order; false if it cannot be parsed.</summary>
    bool Apply(byte from, RecordKind kind, ReadOnlySpan<byte> payload);

    /// <summary>Stamp of the last change published.</summary>
    long LastStamp { get; }

    /// <summary>A full transfer to the peer begins.</summary>
    void Filling(byte peer);

    /// <summary>The peer has acknowledged a record for which confirmation was wanted.</summary>
    void Confirmed(RecordKind kind, ulong key, uint version);
}

/// <summary>Sizes and times of links.</summary>
public sealed record LinkOptions
{
    /// <summary>Longest UDP payload in bytes: link MTU less 48.</summary>
    public int MaxDatagram { get; init; } = 1452;

    /// <summary>Changes held per peer.</summary>
    public int Slots { get; init; } = 8192;

    /// <summary>Datagrams in flight per peer.</summary>
    public int Window { get; init; } = 512;

    /// <summary>Most datagrams sent to a peer in one step.</summary>
    public int PerStep { get; init; } = 64;

    /// <summary>Time between hellos while a peer does not answer, ns.</summary>
    public long HelloNs { get; init; } = 20_000_000;

    /// <summary>Bounds of the time after which an unacknowledged datagram counts as lost, ns.</summary>
    public long MinTimeoutNs { get; init; } = 5_000_000;

    public long MaxTimeoutNs { get; init; } = 500_000_000;
}
