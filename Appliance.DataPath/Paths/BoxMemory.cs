using Appliance.DataPath.Flow;
using Appliance.DataPath.Memory;
using Appliance.DataPath.Splice;
using Appliance.DataPath.State;

namespace Appliance.DataPath.Paths;

/// <summary>The memory that a box's tables and counters stand in: private, or a shared mapping that the manager reads.</summary>
public sealed record BoxMemory(nint Flows, nint Records, Statistics Statistics, ulong Seed, Quiescence Quiescence)
{
    /// <summary>Private memory, reserved and touched only as far as used (tests, simulation, offline).</summary>
    public static BoxMemory Private(int splices, ulong seed) => new(
        MemoryNative.Reserve((nuint)SpliceTable.FlowBytes(splices)),
        MemoryNative.Reserve((nuint)SpliceTable.RecordBytes(splices)),
        Statistics.Private(),
        seed,
        new Quiescence());
}
