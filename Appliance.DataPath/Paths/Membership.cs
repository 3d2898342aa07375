using Appliance.DataPath.Balance;
using Appliance.DataPath.State;

namespace Appliance.DataPath.Paths;

/// <summary>One version of the cluster's membership, with the owner table that follows from it.</summary>
public sealed class MembershipSlot
{
    private readonly MaglevTables _tables;

    internal MembershipSlot(MaglevTables tables)
    {
        _tables = tables;
        Table = tables.For(0);
        Table.Holders++;
    }

    /// <summary>Owner table over <see cref="Usable"/>.</summary>
    public MaglevTable Table { get; private set; }

    /// <summary>Workload factors by node.</summary>
    public byte[] Factors { get; } = new byte[NodeIds.Max];

    /// <summary>Proxies usable on every traffic link: they own flows.</summary>
    public ulong Usable { get; private set; }

    /// <summary>All boxes that live, this one included.</summary>
    public ulong Live;

    /// <summary>Boxes that live and have both traffic links: what is relayed to others may be lost or stay with them.</summary>
    public ulong Linked;

    /// <summary>Version, from the sharer's beats.</summary>
    public uint Version;

    /// <summary>Control: who owns flows in this version, and the table that follows.</summary>
    public void Use(ulong usable)
    {
        Table.Holders--;
        Table = _tables.For(usable);
        Table.Holders++;
        Usable = usable;
    }
}

/// <summary>
/// Who owns which flow now, and who did before the last change (SPLICE 5). Liveness prepares a
/// spare slot while the worker reads the others; the worker swaps on a command. So the worker never
/// builds a table and never waits. Several workers have a view each; a slot may be filled again only when all have taken the last.
/// </summary>
public sealed class Membership
{
    /// <summary>Versions remembered besides the present one: tables may change several times while one handshake runs.</summary>
    public const int Remembered = 4;

    private readonly MembershipSlot[] _slots;
    private readonly (int Slot, long Until)[] _past = new (int, long)[Remembered];
    private int _current = -1, _pastCount;
    private int _applied = -1;
    private int _posted = -1;

    /// <summary>Slots for the nodes whose names hash to <paramref name="nameHashes"/>, in the order of their numbers.</summary>
    public Membership(ulong[] nameHashes)
    {
        _slots = new MembershipSlot[Remembered + 2];
        Tables = new MaglevTables(nameHashes, _slots.Length);
        for (int i = 0; i < _slots.Length; i++) _slots[i] = new MembershipSlot(Tables);
    }

    /// <summary>Another worker's view of the same slots: a version is built once, and each worker swaps when its command comes.</summary>
    public Membership(Membership first) => (_slots, Tables) = (first._slots, first.Tables);

    /// <summary>Control: where slots have their tables from.</summary>
    public MaglevTables Tables { get; }

    /// <summary>Worker: the present version; null before the first.</summary>
    public MembershipSlot? Current => _current < 0 ? null : _slots[_current];

    /// <summary>
    /// Worker: who owned a hash before, newest first, each node once: only boxes that live and have both traffic links, and not
    /// <paramref name="self"/>; tables replaced longer than <paramref name="ageNs"/> ago do not count. Returns how many.
    /// </summary>
    public int PreviousOwners(ulong hash, byte self, long now, long ageNs, Span<byte> owners)
    {
        int count = 0;
        for (int i = 0; i < _pastCount && now - _past[i].Until < ageNs; i++)
        {
            byte node = _slots[_past[i].Slot].Table.Lookup(hash);
            if (node == NodeIds.None || node == self || (Current!.Linked >> node & 1) == 0 || owners[..count].Contains(node)) continue;
            owners[count++] = node;
        }
        return count;
    }

    /// <summary>Worker: true if a hash had another owner than <paramref name="self"/> within <paramref name="ageNs"/>.</summary>
    public bool HasMoved(ulong hash, byte self, long now, long ageNs)
    {
        for (int i = 0; i < _pastCount && now - _past[i].Until < ageNs; i++)
        {
            if (_slots[_past[i].Slot].Table.Lookup(hash) != self) return true;
        }
        return false;
    }

    /// <summary>Worker: when the owners last changed, ns.</summary>
    public long ChangedAt { get; private set; } = long.MinValue / 2;

    /// <summary>Worker: when this box got its first version, ns.</summary>
    public long JoinedAt { get; private set; } = long.MinValue / 2;

    /// <summary>Worker: lives anybody but <paramref name="self"/>?</summary>
    public bool HasOthers(byte self) => Current is { } slot && (slot.Live & ~(1ul << self)) != 0;

    /// <summary>Control: the worker has taken the last posted slot.</summary>
    public bool IsTaken => _posted == Volatile.Read(ref _applied);

    /// <summary>Control: a slot to fill in, or null while the worker has not taken the last one.</summary>
    public MembershipSlot? Prepare(out byte number)
    {
        number = 0;
        if (!IsTaken) return null;
        for (byte i = 0; i < _slots.Length; i++)
        {
            if (i == _current || IsPast(i)) continue;
            number = i;
            return _slots[i];
        }
        return null;
    }

    /// <summary>Control: new workload factors, for all versions; single bytes, which the worker may read at any time.</summary>
    public void SetFactors(ReadOnlySpan<byte> factors)
    {
        foreach (MembershipSlot slot in _slots) factors.CopyTo(slot.Factors);
    }

    /// <summary>Control: the slot was posted to the worker.</summary>
    public void Posted(byte number) => _posted = number;

    /// <summary>Worker: takes a posted slot.</summary>
    public void Apply(byte number, long now)
    {
        if (_current < 0)
        {
            _current = number;
            JoinedAt = now;
        }
        else if (_slots[number].Usable != _slots[_current].Usable)
        {
            _pastCount = Math.Min(_pastCount + 1, Remembered);
            for (int i = _pastCount - 1; i > 0; i--) _past[i] = _past[i - 1];
            _past[0] = (_current, now);
            _current = number;
            ChangedAt = now;
        }
        else
        {
            _current = number;
        }
        Volatile.Write(ref _applied, number);
    }

    private bool IsPast(int slot)
    {
        for (int i = 0; i < _pastCount; i++) if (_past[i].Slot == slot) return true;
        return false;
    }
}
