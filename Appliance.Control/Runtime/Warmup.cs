using System.Reflection;
using System.Runtime.CompilerServices;
using Appliance.Control.Failover;
using Appliance.DataPath.Flow;
using Appliance.DataPath.Memory;
using Appliance.DataPath.Paths;
using Appliance.DataPath.State;

namespace Appliance.Control.Runtime;

/// <summary>
/// Compiles the data path, and the control threads that share its fate, before the box counts as
/// usable: the first packet of every kind then finds machine code, and no compiler runs beside the
/// worker. Costs a few hundred milliseconds of one start.
/// </summary>
public static class Warmup
{
    private static readonly Type[] Instances =
    [
        typeof(FlowTable<RewriteEntry>), typeof(RecordTable<RewriteEntry>), typeof(RecordTable<SpliceRecord>),
        typeof(SpscQueue<SpliceEvent>), typeof(SpscQueue<SpliceCommand>), typeof(SpscQueue<(byte, ulong)>),
    ];

    /// <summary>Compiles everything; returns how many methods that were.</summary>
    public static int Run()
    {
        int count = 0;
        foreach (Type type in typeof(Box).Assembly.GetTypes().Concat(typeof(LivenessCore).Assembly.GetTypes().Where(IsOfEngine)).Concat(Instances)) count += Prepare(type);
        return count;
    }

    private static bool IsOfEngine(Type type) =>
        type.Namespace is "Appliance.Control.Failover" or "Appliance.Control.Replication" or "Appliance.Control.Sealing" or "Appliance.Control.Runtime";

    private static int Prepare(Type type)
    {
        if (type.ContainsGenericParameters || type.IsInterface || typeof(Delegate).IsAssignableFrom(type)) return 0;
        const BindingFlags all = BindingFlags.DeclaredOnly | BindingFlags.Instance | BindingFlags.Static | BindingFlags.Public | BindingFlags.NonPublic;
        int count = 0;
        foreach (MethodBase method in type.GetMethods(all).Cast<MethodBase>().Concat(type.GetConstructors(all)))
        {
            bool hasCode = (method.GetMethodImplementationFlags() & (MethodImplAttributes.Runtime | MethodImplAttributes.InternalCall)) == MethodImplAttributes.IL;
            if (!hasCode || method.IsAbstract || method.ContainsGenericParameters || (method.Attributes & MethodAttributes.PinvokeImpl) != MethodAttributes.PrivateScope) continue;
            if (type.IsGenericType) RuntimeHelpers.PrepareMethod(method.MethodHandle, [.. type.GetGenericArguments().Select(t => t.TypeHandle)]);
            else RuntimeHelpers.PrepareMethod(method.MethodHandle);
            count++;
        }
        return count;
    }
}
