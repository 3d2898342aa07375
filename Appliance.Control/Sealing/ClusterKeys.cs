using System.Security.Cryptography;

namespace Appliance.Control.Sealing;

/// <summary>What a key is for; each purpose has keys of its own.</summary>
public enum ChannelPurpose : byte
{
    /// <summary>Heartbeats.</summary>
    Beat = 1,

    /// <summary>Replication.</summary>
    Sync = 2,

    /// <summary>The hello of the connection whose closing tells a death.</summary>
    Bell = 3,
}

/// <summary>
/// The key or two of the cluster's key file: the first seals, both are accepted, so that a key is
/// changed box by box. Immutable. <see cref="Unsealed"/> is for simulations only: same framing,
/// counters and challenges, no cryptography; sealed and unsealed boxes refuse each other.
/// </summary>
public sealed class ClusterKeys
{
    /// <summary>Shortest key in bytes.</summary>
    public const int MinKeyBytes = 16;

    private readonly byte[][] _keys;

    /// <summary>A cluster with one key, or with two while the key is being changed.</summary>
    public ClusterKeys(ReadOnlySpan<byte> current, ReadOnlySpan<byte> other = default)
    {
        if (current.Length < MinKeyBytes) throw new ArgumentException($"A cluster key has at least {MinKeyBytes} bytes.", nameof(current));
        _keys = other.IsEmpty ? [current.ToArray()] : [current.ToArray(), other.ToArray()];
    }

    private ClusterKeys() => _keys = [[]];

    /// <summary>No cryptography (simulation).</summary>
    public static ClusterKeys Unsealed { get; } = new();

    /// <summary>False only for <see cref="Unsealed"/>.</summary>
    public bool IsSealed => _keys[0].Length > 0;

    /// <summary>Number of keys.</summary>
    public int Count => _keys.Length;

    /// <summary>HKDF-SHA256(file key, salt, purpose and sender) (RFC 5869): 32 bytes for the cipher, 16 for the check word.</summary>
    internal void Derive(int index, ReadOnlySpan<byte> salt, byte sender, ChannelPurpose purpose, Span<byte> material)
    {
        Span<byte> info = stackalloc byte[16];
        "appliance seal"u8.CopyTo(info);
        info[14] = (byte)purpose;
        info[15] = sender;
        HKDF.DeriveKey(HashAlgorithmName.SHA256, _keys[index], material, salt, info);
    }
}

/// <summary>One start of one box: a random 256-bit salt, of which the first eight bytes serve as its number.</summary>
public sealed class Incarnation
{
    /// <summary>Length of the salt.</summary>
    public const int SaltBytes = 32;

    private readonly byte[] _salt;

    /// <summary>An incarnation with a given salt (simulation).</summary>
    public Incarnation(ReadOnlySpan<byte> salt)
    {
        if (salt.Length != SaltBytes) throw new ArgumentException("A salt has 32 bytes.", nameof(salt));
        _salt = salt.ToArray();
        Id = NumberOf(_salt);
    }

    /// <summary>The salt.</summary>
    public ReadOnlySpan<byte> Salt => _salt;

    /// <summary>The number; 0 stands for "not known".</summary>
    public ulong Id { get; }

    /// <summary>A new one.</summary>
    public static Incarnation Create() => new(RandomNumberGenerator.GetBytes(SaltBytes));

    /// <summary>The number that belongs to a salt.</summary>
    internal static ulong NumberOf(ReadOnlySpan<byte> salt) => System.Buffers.Binary.BinaryPrimitives.ReadUInt64BigEndian(salt) | 1;
}
