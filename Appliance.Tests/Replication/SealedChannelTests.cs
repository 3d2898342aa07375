using Appliance.Control.Sealing;
using NUnit.Framework;

namespace Appliance.Tests.Replication;

[TestFixture]
public sealed class SealedChannelTests
{
    private static readonly byte[] KeyA = [.. Enumerable.Range(1, 32).Select(i => (byte)i)];
    private static readonly byte[] KeyB = [.. Enumerable.Range(101, 32).Select(i => (byte)i)];

    private readonly byte[] _datagram = new byte[2000];
    private readonly byte[] _contents = new byte[2000];

    [Test]
    public void Every_hostile_datagram_is_rejected_for_its_own_reason()
    {
        using SealedChannel a = Channel(0), b = Channel(1), stranger = Channel(7), wrong = Channel(0, new ClusterKeys(KeyB)), third = Channel(2);
        using var unsealed = Channel(0, ClusterKeys.Unsealed);
        Introduce(a, b);
        byte[] good = Seal(a, 1, "hello"u8);
        Assert.That(Open(b, good), Is.EqualTo(RejectReason.None));
        Assert.That(Open(b, good), Is.EqualTo(RejectReason.Replayed));
        Assert.That(Open(b, good[..20]), Is.EqualTo(RejectReason.Truncated));
        Assert.That(Open(b, Seal(a, 1, "hello"u8)[..^1]), Is.EqualTo(RejectReason.WrongKey), "cut short");
        Assert.That(Open(b, Seal(a, 2, "hello"u8)), Is.EqualTo(RejectReason.NotForUs));
        Assert.That(Open(b, Seal(stranger, 1, "hello"u8)), Is.EqualTo(RejectReason.UnknownSender));
        Assert.That(Open(b, Seal(wrong, 1, "hello"u8)), Is.EqualTo(RejectReason.WrongKey));
        Assert.That(Open(b, Seal(unsealed, 1, "hello"u8)), Is.EqualTo(RejectReason.WrongFormat));
        Assert.That(Open(b, Seal(third, 1, "hello"u8)), Is.EqualTo(RejectReason.Unconfirmed));
        using SealedChannel twin = Channel(1), otherKey = Channel(1, new ClusterKeys(KeyB));
        Assert.That(Open(b, Seal(b, SealedChannel.Everybody, "hello"u8)), Is.EqualTo(RejectReason.UnknownSender), "our own, come back");
        Assert.That(Open(b, Seal(twin, SealedChannel.Everybody, "hello"u8)), Is.EqualTo(RejectReason.OwnName));
        Assert.That(Open(b, Seal(twin, SealedChannel.Everybody, "hello"u8)[..^1]), Is.EqualTo(RejectReason.UnknownSender), "cut short");
        Assert.That(Open(b, Seal(otherKey, SealedChannel.Everybody, "hello"u8)), Is.EqualTo(RejectReason.UnknownSender));

        byte[] old = Seal(a, 1, "late"u8);
        using SealedChannel again = Channel(0);
        Introduce(again, b);
        Assert.That(Open(b, old), Is.EqualTo(RejectReason.OldIncarnation));
        for (int i = 0; i < SealedChannel.KeysPerSecond; i++)
        {
            using SealedChannel fresh = Channel(0);
            Open(b, Seal(fresh, 1, "x"u8));
        }
        using SealedChannel last = Channel(0);
        Assert.That(Open(b, Seal(last, 1, "x"u8)), Is.EqualTo(RejectReason.TooManyKeys));
        foreach (RejectReason reason in Enum.GetValues<RejectReason>())
        {
            Assert.That(RejectReasons.Sentence(reason), Does.Contain(" "));
            if (reason is not (RejectReason.None or RejectReason.Malformed or RejectReason.Late)) Assert.That(b.Rejected[(int)reason], Is.GreaterThan(0), reason.ToString());
        }
    }

    [Test]
    public void Any_changed_bit_is_noticed()
    {
        using SealedChannel a = Channel(0), b = Channel(1);
        Introduce(a, b);
        byte[] good = Seal(a, 1, "a record"u8);
        for (int bit = 0; bit < good.Length * 8; bit++)
        {
            byte[] bad = [.. good];
            bad[bit / 8] ^= (byte)(1 << (bit % 8));
            Assert.That(Open(b, bad), Is.Not.EqualTo(RejectReason.None), $"bit {bit}");
        }
        Assert.That(Open(b, good), Is.EqualTo(RejectReason.None));
    }

    [Test]
    public void A_recording_of_a_dead_incarnation_convinces_nobody_who_starts_anew()
    {
        using SealedChannel a = Channel(0), b = Channel(1);
        var recorded = new List<byte[]>();
        Introduce(a, b, recorded);
        for (int i = 0; i < 20; i++) recorded.Add(Seal(a, 1, "old"u8));
        using SealedChannel b2 = Channel(1);
        foreach (byte[] datagram in recorded) Assert.That(Open(b2, datagram), Is.Not.EqualTo(RejectReason.None));
        Assert.That(b2.IncarnationOf(0), Is.Zero);
        // The living one is believed all the same.
        using SealedChannel a2 = Channel(0);
        Introduce(a2, b2);
        Assert.That(Open(b2, Seal(a2, 1, "new"u8)), Is.EqualTo(RejectReason.None));
        foreach (byte[] datagram in recorded) Assert.That(Open(b2, datagram), Is.Not.EqualTo(RejectReason.None));
    }

    [Test]
    public void A_key_is_changed_box_by_box()
    {
        using SealedChannel a = Channel(0, new ClusterKeys(KeyB, KeyA)), b = Channel(1, new ClusterKeys(KeyA, KeyB)), c = Channel(2, new ClusterKeys(KeyA));
        Introduce(a, b);
        Assert.That(Open(b, Seal(a, 1, "new key"u8)), Is.EqualTo(RejectReason.None));
        Assert.That(Open(a, Seal(b, 0, "old key"u8)), Is.EqualTo(RejectReason.None));
        Assert.That(Open(c, Seal(a, 2, "not mine"u8)), Is.EqualTo(RejectReason.WrongKey));
    }

    [Test]
    public void Purposes_have_keys_of_their_own()
    {
        var me = Incarnation.Create();
        using var beat = new SealedChannel(0, 3, me, ChannelPurpose.Beat, new ClusterKeys(KeyA));
        using SealedChannel b = Channel(1);
        byte[] datagram = Seal(beat, 1, "x"u8);
        Assert.That(Open(b, datagram), Is.EqualTo(RejectReason.WrongFormat));
        datagram[1] = (byte)ChannelPurpose.Sync;
        Assert.That(Open(b, datagram), Is.EqualTo(RejectReason.WrongKey));
    }

    [Test]
    public void The_replay_window_takes_each_counter_once_in_any_order([Range(1, 20)] int seed)
    {
        var random = new Random(seed);
        var window = new ReplayWindow();
        var taken = new HashSet<ulong>();
        ulong highest = 0;
        for (int i = 0; i < 20_000; i++)
        {
            ulong counter = highest + (ulong)random.Next(1, 100);
            if (random.Next(3) != 0) counter -= Math.Min(counter - 1, (ulong)random.Next(6000));
            if (random.Next(2000) == 0) counter += 10_000;
            bool isNew = window.IsNew(counter);
            if (isNew == (taken.Contains(counter) || (highest > counter && highest - counter >= ReplayWindow.Size))) Assert.Fail($"seed {seed}: counter {counter}, highest {highest}");
            if (!isNew) continue;
            window.Mark(counter);
            taken.Add(counter);
            highest = Math.Max(highest, counter);
        }
    }

    [Test]
    public void Sealing_opening_and_refusing_allocate_nothing()
    {
        using SealedChannel a = Channel(0), b = Channel(1);
        Introduce(a, b);
        byte[] contents = new byte[1300];
        int ok = 0;
        long before = 0;
        for (int i = 0; i < 101_000; i++)
        {
            if (i == 3_000) before = GC.GetAllocatedBytesForCurrentThread();
            int length = a.Seal(1, contents, _datagram);
            if (b.Open(_datagram.AsSpan(0, length), 0, _contents, out _) == RejectReason.None) ok++;
            if (b.Open(_datagram.AsSpan(0, length), 0, _contents, out _) != RejectReason.Replayed) ok--;
            // Damaged anywhere, it is refused without an exception.
            length = a.Seal(1, contents, _datagram);
            _datagram[i % length] ^= 0x20;
            if (b.Open(_datagram.AsSpan(0, length), 0, _contents, out _) == RejectReason.None) ok--;
        }
        Assert.That(GC.GetAllocatedBytesForCurrentThread() - before, Is.Zero);
        Assert.That(ok, Is.EqualTo(101_000));
    }

    private static SealedChannel Channel(byte self, ClusterKeys? keys = null) => new(self, 7, Incarnation.Create(), ChannelPurpose.Sync, keys ?? new ClusterKeys(KeyA));

    private byte[] Seal(SealedChannel from, byte to, ReadOnlySpan<byte> contents) => _datagram[..from.Seal(to, contents, _datagram)];

    private RejectReason Open(SealedChannel at, byte[] datagram) => at.Open(datagram, 0, _contents, out _);

    private void Introduce(SealedChannel x, SealedChannel y, List<byte[]>? recorded = null)
    {
        byte idX = Seal(x, 255, default)[2], idY = Seal(y, 255, default)[2];
        for (int i = 0; i < 3; i++)
        {
            byte[] there = Seal(x, idY, "hi"u8);
            recorded?.Add(there);
            Open(y, there);
            Open(x, Seal(y, idX, "hi"u8));
        }
        Assert.That(x.IncarnationOf(idY), Is.Not.Zero);
        Assert.That(y.IncarnationOf(idX), Is.Not.Zero);
    }
}
