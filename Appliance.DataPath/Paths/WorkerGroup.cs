using System.Numerics;
using System.Runtime.InteropServices;
using Appliance.DataPath.Memory;
using Appliance.DataPath.Port;
using Appliance.DataPath.Splice;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.DataPath.Paths;

/// <summary>
/// What the workers of one box have in common, each of which owns a whole <see cref="Box"/>: the function that says
/// whose a frame is, a bounded ring from each to each for frames that landed elsewhere, cookie keys, and what is known
/// of backends. Full rings are a counted drop; nobody waits. With one worker there is no ring and nothing is asked.
/// </summary>
public sealed class WorkerGroup : IDisposable
{
    /// <summary>Most workers of a box.</summary>
    public const int Max = 16;

    /// <summary>Longest frame that can be handed over, with what goes with it.</summary>
    public const int MaxRecord = 68 << 10;

    private const int RingBytes = SpscRing.HeaderSize + (1 << 20), MinReplayBytes = 4 << 20;

    private readonly nint _memory;
    private readonly SpscRing?[] _writers, _readers;
    private readonly Action?[] _wakes;
    private readonly long[] _heard = new long[2];

    /// <summary>A group of <paramref name="count"/> workers for a box.</summary>
    public WorkerGroup(BoxConfig config, int count, long wallMs)
    {
        if (count is < 1 or > Max) throw new ArgumentOutOfRangeException(nameof(count), count, $"1 to {Max} workers");
        Count = count;
        Cookies = new CookieKeys(config.ClusterKey, wallMs / 1000);
        Profiles = new RealProfiles(config.Services);
        Health = new RealHealth(Profiles.Reals);
        _writers = new SpscRing?[count * count];
        _readers = new SpscRing?[count * count];
        _wakes = new Action?[count];
        if (count == 1) return;
        _memory = MemoryNative.Reserve((nuint)(count * count * RingBytes));
        for (int i = 0; i < _writers.Length; i++)
        {
            if (i / count == i % count) continue;
            nint at = _memory + (nint)i * RingBytes;
            _writers[i] = SpscRing.Create(at, RingBytes, generation: 1);
            SpscRing.TryAttachReader(at, RingBytes, out _readers[i]);
        }
    }

    /// <summary>Workers.</summary>
    public int Count { get; }

    /// <summary>Cookie keys; prepared off the packet path.</summary>
    public CookieKeys Cookies { get; }

    /// <summary>What backends offer.</summary>
    public RealProfiles Profiles { get; }

    /// <summary>Which backends rest.</summary>
    public RealHealth Health { get; }

    /// <summary>One worker's share of a box's memory. A hash divides unevenly, so each gets a sixteenth more splices than its part.</summary>
    public static BoxConfig Divide(BoxConfig config, int workers) => workers == 1 ? config : config with
    {
        Splices = Part(config.Splices + config.Splices / 16, workers),
        Handshakes = Part(config.Handshakes, workers),
        HandshakesPerSource = Part(config.HandshakesPerSource, workers),
        ReplayBytes = Math.Min(config.ReplayBytes, Math.Max((int)BitOperations.RoundUpToPowerOf2((uint)Part(config.ReplayBytes, workers)), MinReplayBytes)),
    };

    /// <summary>When anything at all last came over a link, to any worker, ns.</summary>
    public long HeardAt(LinkRole role) => Volatile.Read(ref _heard[(int)role]);

    /// <summary>Something came over a link; once a cycle is written, since others read the same line.</summary>
    public void Hear(LinkRole role, long now)
    {
        if (_heard[(int)role] != now) Volatile.Write(ref _heard[(int)role], now);
    }

    /// <summary>What ends a worker's sleep; set before the workers run.</summary>
    public void SetWake(int worker, Action wake) => _wakes[worker] = wake;

    /// <summary>
    /// Whose a packet is: of its client's worker if it has ports, or quotes some; everything else, fragments too,
    /// is worker 0's. The kernel (<see cref="FanoutProgram"/>) says the same of packets with their ports in the usual place and gives worker 0 the rest.
    /// </summary>
    public int WorkerOf(LinkRole role, in Packet packet)
    {
        bool external = role == LinkRole.External;
        if (packet.Layout.IsFragment) return 0;
        if (packet.IsTcp || packet.IsUdp)
        {
            return external ? ClientShare.Of(packet.Source, packet.SourcePort, Count) : ClientShare.Of(packet.Destination, packet.DestinationPort, Count);
        }
        if (!packet.IsIcmp || !packet.Icmp.IsError || !packet.Icmp.TryGetQuote(out IcmpQuote quote, out _) || !quote.HasPorts) return 0;
        // The quote runs the other way.
        return external ? ClientShare.Of(quote.Destination, quote.DestinationPort, Count) : ClientShare.Of(quote.Source, quote.SourcePort, Count);
    }

    /// <summary>Worker <paramref name="from"/>: copies a frame for worker <paramref name="to"/>; false if there is no room.</summary>
    public bool TryGive(int from, int to, in Handover how, ReadOnlySpan<byte> frame) =>
        _writers[from * Count + to]!.TryWrite(MemoryMarshal.AsBytes(new ReadOnlySpan<Handover>(in how)), frame);

    /// <summary>Worker <paramref name="to"/>: takes the oldest frame of worker <paramref name="from"/> into <paramref name="memory"/>, of <see cref="MaxRecord"/> bytes.</summary>
    public bool TryTake(int from, int to, in FrameRef memory, out Handover how, out FrameRef frame)
    {
        int header = System.Runtime.CompilerServices.Unsafe.SizeOf<Handover>();
        how = default;
        frame = memory;
        if (_readers[from * Count + to]!.TryRead(memory.Bytes, out int length) != RingRead.Record) return false;
        how = MemoryMarshal.Read<Handover>(memory.Bytes);
        frame.Address += header;
        frame.Length = length - header;
        frame.Vnet = how.Vnet;
        return true;
    }

    /// <summary>Wakes the workers of a set.</summary>
    public void Wake(uint workers)
    {
        for (int worker = 0; workers != 0; worker++, workers >>= 1)
        {
            if ((workers & 1) != 0) _wakes[worker]?.Invoke();
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (_memory != 0) MemoryNative.Unreserve(_memory, (nuint)(Count * Count * RingBytes));
    }

    private static int Part(int whole, int workers) => (whole + workers - 1) / workers;
}
