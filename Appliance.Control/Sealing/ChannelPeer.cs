using System.Buffers.Binary;
using System.Security.Cryptography;

namespace Appliance.Control.Sealing;

/// <summary>
/// The key of one incarnation of one box: AES-256-GCM, and a keyed 64-bit check word over all the rest of the
/// datagram. The check word is no proof; it turns away what was forged, altered or damaged on a link before the
/// cipher is asked, whose refusal is an exception (time, and memory of the managed heap).
/// </summary>
internal sealed class ChannelKey : IDisposable
{
    public const int MaterialBytes = 48;

    private readonly byte[] _salt;
    private readonly AesGcm? _cipher;
    private readonly ulong _k0, _k1;

    private ChannelKey(ReadOnlySpan<byte> salt, ReadOnlySpan<byte> material)
    {
        _salt = salt.ToArray();
        Id = Incarnation.NumberOf(salt);
        if (material.IsEmpty) return;
        _cipher = new AesGcm(material[..32], SealedChannel.TagBytes);
        (_k0, _k1) = CheckKeys(material);
    }

    public ulong Id { get; }

    /// <summary>The key of a salt, if the check word of this datagram fits it (an empty datagram always fits: our own key).</summary>
    public static ChannelKey? TryCreate(ClusterKeys keys, int index, ReadOnlySpan<byte> salt, byte sender, ChannelPurpose purpose, ReadOnlySpan<byte> datagram)
    {
        if (!keys.IsSealed) return new ChannelKey(salt, default);
        Span<byte> material = stackalloc byte[MaterialBytes];
        keys.Derive(index, salt, sender, purpose, material);
        (ulong k0, ulong k1) = CheckKeys(material);
        ChannelKey? key = datagram.IsEmpty || CheckWord(k0, k1, datagram) == BinaryPrimitives.ReadUInt64BigEndian(datagram[SealedChannel.CheckAt..])
            ? new ChannelKey(salt, material) : null;
        CryptographicOperations.ZeroMemory(material);
        return key;
    }

    public bool Is(ReadOnlySpan<byte> salt) => salt.SequenceEqual(_salt);

    /// <summary>Fills cipher text, tag and check word of a datagram whose header up to the counter stands.</summary>
    public void Encrypt(ReadOnlySpan<byte> inner, Span<byte> datagram)
    {
        Span<byte> cipher = datagram.Slice(SealedChannel.HeaderBytes, inner.Length);
        Span<byte> tag = datagram.Slice(SealedChannel.HeaderBytes + inner.Length, SealedChannel.TagBytes);
        if (_cipher is null)
        {
            inner.CopyTo(cipher);
            tag.Clear();
            BinaryPrimitives.WriteUInt64BigEndian(datagram[SealedChannel.CheckAt..], Checksum(datagram[..SealedChannel.CheckAt], inner));
            return;
        }
        Span<byte> nonce = stackalloc byte[12];
        Nonce(datagram, nonce);
        _cipher.Encrypt(nonce, inner, cipher, tag, datagram[..SealedChannel.CheckAt]);
        BinaryPrimitives.WriteUInt64BigEndian(datagram[SealedChannel.CheckAt..], CheckWord(_k0, _k1, datagram));
    }

    /// <summary>Opens a datagram into <paramref name="inner"/>, which is as long as the cipher text; false if it is not authentic.</summary>
    public bool Decrypt(ReadOnlySpan<byte> datagram, Span<byte> inner)
    {
        ReadOnlySpan<byte> cipher = datagram.Slice(SealedChannel.HeaderBytes, inner.Length);
        if (_cipher is null)
        {
            cipher.CopyTo(inner);
            return Checksum(datagram[..SealedChannel.CheckAt], inner) == BinaryPrimitives.ReadUInt64BigEndian(datagram[SealedChannel.CheckAt..]);
        }
        if (CheckWord(_k0, _k1, datagram) != BinaryPrimitives.ReadUInt64BigEndian(datagram[SealedChannel.CheckAt..])) return false;
        Span<byte> nonce = stackalloc byte[12];
        Nonce(datagram, nonce);
        try
        {
            _cipher.Decrypt(nonce, cipher, datagram[(SealedChannel.HeaderBytes + inner.Length)..], inner, datagram[..SealedChannel.CheckAt]);
            return true;
        }
        catch (AuthenticationTagMismatchException)
        {
            return false;
        }
    }

    public void Dispose() => _cipher?.Dispose();

    // Unsealed datagrams of a simulation are truncated and corrupted too: FNV-1a notices.
    private static ulong Checksum(ReadOnlySpan<byte> header, ReadOnlySpan<byte> inner)
    {
        ulong h = 0xcbf2_9ce4_8422_2325;
        foreach (byte b in header) h = (h ^ b) * 0x100_0000_01b3;
        foreach (byte b in inner) h = (h ^ b) * 0x100_0000_01b3;
        return h;
    }

    private static void Nonce(ReadOnlySpan<byte> datagram, Span<byte> nonce)
    {
        nonce[..4].Clear();
        datagram.Slice(SealedChannel.CounterAt, 8).CopyTo(nonce[4..]);
    }

    private static (ulong, ulong) CheckKeys(ReadOnlySpan<byte> material) =>
        (BinaryPrimitives.ReadUInt64BigEndian(material[32..]), BinaryPrimitives.ReadUInt64BigEndian(material[40..]));

    private static ulong CheckWord(ulong k0, ulong k1, ReadOnlySpan<byte> datagram) =>
        Absorb(Absorb(k0, k1, datagram[..SealedChannel.CheckAt]), k1, datagram[SealedChannel.HeaderBytes..]);

    // At least 16 bytes; the last 16 overlap what was taken before.
    private static ulong Absorb(ulong h, ulong key, ReadOnlySpan<byte> bytes)
    {
        h ^= (ulong)bytes.Length;
        for (ReadOnlySpan<byte> left = bytes; left.Length > 16; left = left[16..]) h = MixPair(h, key, left);
        return MixPair(h, key, bytes[^16..]);
    }

    private static ulong MixPair(ulong h, ulong key, ReadOnlySpan<byte> bytes) =>
        Mix(BinaryPrimitives.ReadUInt64LittleEndian(bytes) ^ key, BinaryPrimitives.ReadUInt64LittleEndian(bytes[8..]) ^ h);

    private static ulong Mix(ulong a, ulong b)
    {
        ulong high = Math.BigMul(a, b, out ulong low);
        return high ^ low;
    }
}

/// <summary>
/// What a channel knows of one peer: the incarnation that has proved itself, the one that has yet
/// to, the last few that were replaced, our open challenge and the answer that we owe.
/// </summary>
internal sealed class ChannelPeer : IDisposable
{
    private const long CandidateLifeNs = 1_000_000_000;
    private const int Remembered = 8;

    private readonly ulong[] _retired = new ulong[Remembered];
    private int _nextRetired;
    private long _candidateSince;

    public ChannelKey? Current { get; private set; }

    public ChannelKey? Candidate { get; private set; }

    public ReplayWindow Window { get; } = new();

    public byte[] Challenge { get; } = new byte[SealedChannel.ChallengeBytes];

    public byte[] Response { get; } = new byte[SealedChannel.ChallengeBytes];

    public bool HasChallenge { get; set; }

    public bool OwesResponse { get; set; }

    public long KeysSince { get; set; } = long.MinValue / 2;

    public int KeysTried { get; set; }

    public bool IsRetired(ReadOnlySpan<byte> salt) => Array.IndexOf(_retired, Incarnation.NumberOf(salt)) >= 0;

    public void SetCandidate(ChannelKey key, long nowNs)
    {
        Candidate?.Dispose();
        Candidate = key;
        _candidateSince = nowNs;
    }

    // A recording of a dead incarnation never answers: it must not keep our challenge on the wire for ever.
    public void ForgetStaleCandidate(long nowNs)
    {
        if (Candidate is null || nowNs - _candidateSince < CandidateLifeNs) return;
        Candidate.Dispose();
        Candidate = null;
        HasChallenge = false;
    }

    public void Promote(ulong counter)
    {
        if (Current is not null)
        {
            _retired[_nextRetired++ % Remembered] = Current.Id;
            Current.Dispose();
        }
        Current = Candidate;
        Candidate = null;
        HasChallenge = false;
        Window.Clear();
        Window.Mark(counter);
    }

    public void Dispose()
    {
        Current?.Dispose();
        Candidate?.Dispose();
    }
}
