using System.Buffers.Binary;
using System.Security.Cryptography;
using Appliance.DataPath.State;

namespace Appliance.Control.Sealing;

/// <summary>What <see cref="SealedChannel.Open"/> found out about an accepted datagram.</summary>
public struct OpenedDatagram
{
    /// <summary>Who sealed it.</summary>
    public byte Sender;

    /// <summary>Incarnation of the sender.</summary>
    public ulong Incarnation;

    /// <summary>Its number; grows with every datagram that the sender seals.</summary>
    public ulong Counter;

    /// <summary>True if this datagram proved that the sender has started anew: its previous incarnation is dead.</summary>
    public bool IsNewIncarnation;

    /// <summary>Bytes of contents.</summary>
    public int Length;
}

/// <summary>
/// Seals and opens the datagrams of one purpose (AES-256-GCM, RFC 5116) between this box and all
/// its peers. A datagram carries its sender's salt; a salt that is not the known one is believed only after
/// its holder has answered our random challenge, which rides in front of the contents of unicast
/// datagrams until it is answered; so a recording of a dead incarnation is worth nothing. Allocates only when
/// a salt is new, at most <see cref="KeysPerSecond"/> times a second and peer, counted.
/// Single-threaded, no I/O, no clock. Layout: docs/replication.md.
/// </summary>
public sealed class SealedChannel : IDisposable
{
    /// <summary>Receiver of datagrams meant for every peer.</summary>
    public const byte Everybody = 255;

    /// <summary>Bytes of the authentication tag, of the clear header, of a challenge.</summary>
    public const int TagBytes = 16, HeaderBytes = 52, ChallengeBytes = 16;

    /// <summary>Offsets in the clear header.</summary>
    internal const int SaltAt = 4, CounterAt = 36, CheckAt = 44;

    /// <summary>Most bytes that sealing adds.</summary>
    public const int MaxOverhead = HeaderBytes + 1 + 2 * ChallengeBytes + TagBytes;

    /// <summary>Longest datagram.</summary>
    public const int MaxDatagram = 9000;

    /// <summary>New salts looked at, per second and peer.</summary>
    public const int KeysPerSecond = 32;

    private const byte FormatSealed = 1, FormatUnsealed = 0x81, HasChallenge = 1, HasResponse = 2;
    private const long SecondNs = 1_000_000_000;

    private readonly byte _self;
    private readonly byte _format;
    private readonly Incarnation _me;
    private readonly ClusterKeys _keys;
    private readonly ChannelPurpose _purpose;
    private readonly ChannelKey _mine;
    private readonly ChannelPeer?[] _peers;
    private readonly Random? _simulated;
    private readonly byte[] _scratch = new byte[MaxDatagram];
    private ulong _counter;
    private bool _lastSealed;
    private ChannelKey? _twin;
    private long _twinLookedAt = long.MinValue / 2;

    /// <summary>A channel of box <paramref name="self"/>; <paramref name="peers"/> is the set of boxes it listens to. A simulation gives the source of its challenges.</summary>
    public SealedChannel(byte self, ulong peers, Incarnation me, ChannelPurpose purpose, ClusterKeys keys, Random? simulated = null)
    {
        (_self, _me, _purpose, _keys, _simulated) = (self, me, purpose, keys, simulated);
        _format = keys.IsSealed ? FormatSealed : FormatUnsealed;
        _mine = ChannelKey.TryCreate(keys, 0, me.Salt, self, purpose, default)!;
        _peers = new ChannelPeer?[NodeIds.Max];
        for (int i = 0; i < NodeIds.Max; i++) if ((peers >> i & 1) != 0 && i != self) _peers[i] = new ChannelPeer();
    }

    /// <summary>Datagrams rejected, by reason; upper layers add theirs.</summary>
    public long[] Rejected { get; } = new long[RejectReasons.Count];

    /// <summary>Of those, the ones that named a peer as their sender, by peer; and which of them no key of ours fits.</summary>
    public long[] RejectedFrom { get; } = new long[NodeIds.Max];

    /// <inheritdoc cref="RejectedFrom"/>
    public long[] WrongKeyFrom { get; } = new long[NodeIds.Max];

    /// <summary>Keys derived for peers since the start (the only allocations).</summary>
    public long KeysDerived { get; private set; }

    /// <summary>Incarnation of a peer that has proved itself; 0 if none has yet.</summary>
    public ulong IncarnationOf(byte peer) => _peers[peer]?.Current?.Id ?? 0;

    /// <summary>True if the next unicast datagram to a peer carries a challenge or an answer, so that it should leave soon.</summary>
    public bool WantsToSpeak(byte peer) => _peers[peer] is { } p && (p.OwesResponse || p.Candidate is not null);

    /// <summary>Seals contents for one peer, or for <see cref="Everybody"/>; returns the length, 0 if <paramref name="datagram"/> is too short.</summary>
    public int Seal(byte receiver, ReadOnlySpan<byte> contents, Span<byte> datagram) => Seal(receiver, contents, datagram, ++_counter);

    /// <summary>
    /// Seals what is to be the last that anybody hears of this incarnation, for <see cref="Everybody"/>: its number is the highest, so
    /// all else of this sender counts as replayed once it is heard. At most once in the life of a channel: the number must not be used again.
    /// </summary>
    public int SealLast(ReadOnlySpan<byte> contents, Span<byte> datagram)
    {
        if (_lastSealed) throw new InvalidOperationException("the last datagram of a channel is sealed once");
        _lastSealed = true;
        return Seal(Everybody, contents, datagram, ulong.MaxValue);
    }

    /// <summary>Opens a datagram; the contents are in <paramref name="contents"/> only if the answer is <see cref="RejectReason.None"/> or <see cref="RejectReason.OwnName"/>. Counts what it rejects.</summary>
    public RejectReason Open(ReadOnlySpan<byte> datagram, long nowNs, Span<byte> contents, out OpenedDatagram opened)
    {
        RejectReason reason = TryOpen(datagram, nowNs, contents, out opened);
        if (reason == RejectReason.None) return reason;
        Rejected[(int)reason]++;
        if (datagram.Length > 2 && datagram[2] is < NodeIds.Max and byte sender)
        {
            RejectedFrom[sender]++;
            if (reason == RejectReason.WrongKey) WrongKeyFrom[sender]++;
        }
        return reason;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _mine.Dispose();
        _twin?.Dispose();
        foreach (ChannelPeer? peer in _peers) peer?.Dispose();
    }

    private int Seal(byte receiver, ReadOnlySpan<byte> contents, Span<byte> datagram, ulong counter)
    {
        Span<byte> inner = _scratch;
        int length = 1;
        inner[0] = 0;
        if (receiver != Everybody && _peers[receiver] is { } peer)
        {
            if (peer.Current is null || peer.Candidate is not null)
            {
                EnsureChallenge(peer);
                inner[0] |= HasChallenge;
                peer.Challenge.CopyTo(inner[length..]);
                length += ChallengeBytes;
            }
            if (peer.OwesResponse)
            {
                inner[0] |= HasResponse;
                peer.Response.CopyTo(inner[length..]);
                length += ChallengeBytes;
                peer.OwesResponse = false;
            }
        }
        int total = HeaderBytes + length + contents.Length + TagBytes;
        if (total > datagram.Length || total > MaxDatagram) return 0;
        contents.CopyTo(inner[length..]);
        length += contents.Length;

        datagram[0] = _format;
        datagram[1] = (byte)_purpose;
        datagram[2] = _self;
        datagram[3] = receiver;
        _me.Salt.CopyTo(datagram[SaltAt..]);
        BinaryPrimitives.WriteUInt64BigEndian(datagram[CounterAt..], counter);
        _mine.Encrypt(inner[..length], datagram[..total]);
        return total;
    }

    private RejectReason TryOpen(ReadOnlySpan<byte> datagram, long nowNs, Span<byte> contents, out OpenedDatagram opened)
    {
        opened = default;
        if (datagram.Length < HeaderBytes + 1 + TagBytes) return RejectReason.Truncated;
        if (datagram.Length > MaxDatagram || datagram[0] != _format || datagram[1] != (byte)_purpose) return RejectReason.WrongFormat;
        byte sender = datagram[2];
        ReadOnlySpan<byte> salt = datagram.Slice(SaltAt, Incarnation.SaltBytes);
        Span<byte> inner = _scratch.AsSpan(0, datagram.Length - HeaderBytes - TagBytes);
        if (sender == _self && datagram[3] == Everybody && IsTwin(datagram, salt, inner, nowNs)) return TryTwin(salt, inner, contents, out opened);
        if (sender >= NodeIds.Max || _peers[sender] is not { } peer) return RejectReason.UnknownSender;
        if (datagram[3] != _self && datagram[3] != Everybody) return RejectReason.NotForUs;

        ulong counter = BinaryPrimitives.ReadUInt64BigEndian(datagram[CounterAt..]);
        peer.ForgetStaleCandidate(nowNs);
        bool current = peer.Current is { } known && known.Is(salt);
        if (current)
        {
            if (!peer.Window.IsNew(counter)) return RejectReason.Replayed;
            if (!peer.Current!.Decrypt(datagram, inner)) return RejectReason.WrongKey;
            peer.Window.Mark(counter);
        }
        else if (peer.IsRetired(salt))
        {
            return RejectReason.OldIncarnation;
        }
        else if (peer.Candidate is { } candidate && candidate.Is(salt))
        {
            if (!candidate.Decrypt(datagram, inner)) return RejectReason.WrongKey;
        }
        else
        {
            RejectReason refused = TryNewSalt(peer, sender, datagram, salt, inner, nowNs);
            if (refused != RejectReason.None) return refused;
        }

        if (!TryHandshake(peer, inner, current, counter, out bool proved, out int start)) return RejectReason.Malformed;
        if (!current && !proved) return RejectReason.Unconfirmed;
        ReadOnlySpan<byte> body = inner[start..];
        if (body.Length > contents.Length) return RejectReason.Malformed;
        body.CopyTo(contents);
        opened = new OpenedDatagram { Sender = sender, Incarnation = Incarnation.NumberOf(salt), Counter = counter, IsNewIncarnation = proved, Length = body.Length };
        return RejectReason.None;
    }

    // Another process that has our number and our key. New salts are looked at once a second.
    private bool IsTwin(ReadOnlySpan<byte> datagram, ReadOnlySpan<byte> salt, Span<byte> inner, long nowNs)
    {
        if (salt.SequenceEqual(_me.Salt)) return false;
        if (_twin is { } known && known.Is(salt)) return known.Decrypt(datagram, inner);
        if (nowNs - _twinLookedAt < SecondNs) return false;
        _twinLookedAt = nowNs;
        for (int i = 0; i < _keys.Count; i++)
        {
            KeysDerived++;
            if (ChannelKey.TryCreate(_keys, i, salt, _self, _purpose, datagram) is not { } key) continue;
            if (key.Decrypt(datagram, inner))
            {
                _twin?.Dispose();
                _twin = key;
                return true;
            }
            key.Dispose();
        }
        return false;
    }

    // Said to everybody, so nothing stands in front of the contents.
    private static RejectReason TryTwin(ReadOnlySpan<byte> salt, ReadOnlySpan<byte> inner, Span<byte> contents, out OpenedDatagram opened)
    {
        opened = new OpenedDatagram { Incarnation = Incarnation.NumberOf(salt), Length = inner.Length - 1 };
        if (inner[0] != 0 || opened.Length > contents.Length) return RejectReason.Malformed;
        inner[1..].CopyTo(contents);
        return RejectReason.OwnName;
    }

    private RejectReason TryNewSalt(ChannelPeer peer, byte sender, ReadOnlySpan<byte> datagram, ReadOnlySpan<byte> salt, Span<byte> inner, long nowNs)
    {
        if (nowNs - peer.KeysSince >= SecondNs) (peer.KeysSince, peer.KeysTried) = (nowNs, 0);
        if (++peer.KeysTried > KeysPerSecond) return RejectReason.TooManyKeys;
        for (int i = 0; i < _keys.Count; i++)
        {
            KeysDerived++;
            if (ChannelKey.TryCreate(_keys, i, salt, sender, _purpose, datagram) is not { } key) continue;
            if (key.Decrypt(datagram, inner))
            {
                peer.SetCandidate(key, nowNs);
                EnsureChallenge(peer);
                return RejectReason.None;
            }
            key.Dispose();
        }
        return RejectReason.WrongKey;
    }

    // Answering a challenge is harmless to us whoever asks; only what answers *our* challenge proves anything.
    private static bool TryHandshake(ChannelPeer peer, ReadOnlySpan<byte> inner, bool current, ulong counter, out bool proved, out int start)
    {
        proved = false;
        start = 1;
        byte flags = inner[0];
        int needed = 1 + ((flags & HasChallenge) != 0 ? ChallengeBytes : 0) + ((flags & HasResponse) != 0 ? ChallengeBytes : 0);
        if (flags > (HasChallenge | HasResponse) || inner.Length < needed) return false;
        if ((flags & HasChallenge) != 0)
        {
            inner.Slice(start, ChallengeBytes).CopyTo(peer.Response);
            peer.OwesResponse = true;
            start += ChallengeBytes;
        }
        if ((flags & HasResponse) != 0)
        {
            if (!current && peer.HasChallenge && CryptographicOperations.FixedTimeEquals(inner.Slice(start, ChallengeBytes), peer.Challenge))
            {
                peer.Promote(counter);
                proved = true;
            }
            start += ChallengeBytes;
        }
        return true;
    }

    private void EnsureChallenge(ChannelPeer peer)
    {
        if (peer.HasChallenge) return;
        if (_simulated is null) RandomNumberGenerator.Fill(peer.Challenge);
        else _simulated.NextBytes(peer.Challenge);
        peer.HasChallenge = true;
    }
}
