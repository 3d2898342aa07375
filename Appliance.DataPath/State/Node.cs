namespace Appliance.DataPath.State;

/// <summary>
/// Numbers nodes of the cluster: the index of a box's name in the sorted list of all names, so
/// that every box gives the same number without being told. At most 64, so that sets fit a word.
/// </summary>
public static class NodeIds
{
    /// <summary>Most boxes in one cluster.</summary>
    public const int Max = 64;

    /// <summary>No node.</summary>
    public const byte None = 255;
}
