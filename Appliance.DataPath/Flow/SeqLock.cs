using System.Runtime.CompilerServices;

namespace Appliance.DataPath.Flow;

/// <summary>
/// One writer at a time, any number of readers that never write: the writer makes the version odd,
/// changes the value, makes it even again; a reader whose version was even and is unchanged after
/// its copy has a consistent copy. Writers exclude each other by other means.
/// </summary>
public static class SeqLock
{
    /// <summary>Opens a change.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void BeginWrite(ref uint version)
    {
        version |= 1;
        Volatile.WriteBarrier();
    }

    /// <summary>Closes a change: the value is visible, under a version that it has not had before.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void EndWrite(ref uint version) => Volatile.Write(ref version, (version | 1) + 1);

    /// <summary>
    /// Copies <paramref name="source"/>, whose version is the field <paramref name="version"/> of it.
    /// False if it was being written; the caller tries again, or leaves the packet to the slow path.
    /// </summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static bool TryRead<T>(ref readonly T source, ref readonly uint version, out T copy) where T : unmanaged
    {
        uint before = Volatile.Read(in version);
        copy = source;
        Volatile.ReadBarrier();
        return (before & 1) == 0 && version == before;
    }
}
