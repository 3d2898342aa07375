namespace Appliance.DataPath.Wire;

/// <summary>
/// A TCP sequence number (or timestamp value) with serial arithmetic modulo 2^32
/// (RFC 9293 3.4; RFC 7323 5.2 for timestamps). Two values are ordered by the sign of
/// their 32-bit difference, so an order exists only between values less than 2^31 apart.
/// Raw <see cref="uint"/> comparison of sequence numbers is a bug wherever it stands.
/// </summary>
public readonly struct TcpSeq(uint value) : IEquatable<TcpSeq>
{
    /// <summary>The number as it stands on the wire.</summary>
    public uint Value { get; } = value;

    /// <summary>The later of two numbers (max_serial of the splice equations).</summary>
    public static TcpSeq Max(TcpSeq x, TcpSeq y) => x < y ? y : x;

    /// <summary>The earlier of two numbers (min_serial of the splice equations).</summary>
    public static TcpSeq Min(TcpSeq x, TcpSeq y) => x < y ? x : y;

    /// <summary>Bytes from <paramref name="y"/> to <paramref name="x"/>; negative if x is earlier.</summary>
    public static int operator -(TcpSeq x, TcpSeq y) => (int)(x.Value - y.Value);

    /// <summary>The number <paramref name="n"/> bytes later.</summary>
    public static TcpSeq operator +(TcpSeq x, uint n) => new(x.Value + n);

    /// <summary>The number <paramref name="n"/> bytes later, or earlier if negative.</summary>
    public static TcpSeq operator +(TcpSeq x, int n) => new(x.Value + (uint)n);

    /// <summary>The number <paramref name="n"/> bytes earlier.</summary>
    public static TcpSeq operator -(TcpSeq x, uint n) => new(x.Value - n);

    /// <summary>Earlier than.</summary>
    public static bool operator <(TcpSeq x, TcpSeq y) => (int)(x.Value - y.Value) < 0;

    /// <summary>Later than.</summary>
    public static bool operator >(TcpSeq x, TcpSeq y) => (int)(x.Value - y.Value) > 0;

    /// <summary>Not later than.</summary>
    public static bool operator <=(TcpSeq x, TcpSeq y) => (int)(x.Value - y.Value) <= 0;

    /// <summary>Not earlier than.</summary>
    public static bool operator >=(TcpSeq x, TcpSeq y) => (int)(x.Value - y.Value) >= 0;

    /// <summary>Same number.</summary>
    public static bool operator ==(TcpSeq x, TcpSeq y) => x.Value == y.Value;

    /// <summary>Different numbers.</summary>
    public static bool operator !=(TcpSeq x, TcpSeq y) => x.Value != y.Value;

    /// <summary>True if this number lies in [<paramref name="low"/>, <paramref name="high"/>], serially.</summary>
    public bool IsWithin(TcpSeq low, TcpSeq high) => this >= low && this <= high;

    /// <inheritdoc/>
    public bool Equals(TcpSeq other) => Value == other.Value;

    /// <inheritdoc/>
    public override bool Equals(object? obj) => obj is TcpSeq other && Equals(other);

    /// <inheritdoc/>
    public override int GetHashCode() => (int)Value;

    /// <inheritdoc/>
    public override string ToString() => Value.ToString(System.Globalization.CultureInfo.InvariantCulture);
}
