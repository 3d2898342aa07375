using System.Text.Json;
using Appliance.Control.Model;
using Appliance.DataPath.Memory;
using Appliance.DataPath.Paths;
using Appliance.DataPath.Port;
using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.Control.Runtime;

/// <summary>
/// What became of the input frames of an offline run, by verdict; why frames were dropped, the most frequent reason first;
/// and how many frames the captures had cut short, which were left out.
/// </summary>
public sealed record ReplaySummary(long Frames, long Transmitted, long Held, long Consumed, long Dropped, IReadOnlyList<(DropReason Reason, long Frames)> Reasons, long CutShort)
{
    /// <summary>The summary as lines of text.</summary>
    public IEnumerable<string> Lines()
    {
        yield return $"{Frames} frames: {Transmitted} transmitted, {Held} held, {Consumed} consumed, {Dropped} dropped";
        foreach ((DropReason reason, long frames) in Reasons) yield return $"  {frames} dropped: {JsonNamingPolicy.CamelCase.ConvertName(reason.ToString())}, {DropReasons.Sentence(reason)}";
        if (CutShort > 0) yield return $"  {CutShort} more left out: the capture holds only their beginning (tcpdump -s 0 keeps frames whole)";
        if (Reasons.Any(r => r.Reason == DropReason.TransportChecksumWrong))
            yield return "  checksums that are wrong in a capture are mostly those of a virtual link, on which senders leave them to a card that is not there: see \"Replay\" in docs/operations.md";
        long strange = Reasons.FirstOrDefault(r => r.Reason == DropReason.NotForUs).Frames;
        if (Frames > 0 && strange == Frames) yield return "  not one frame is addressed to a MAC of this box: was the capture taken at the box whose configuration this is?";
    }
}

/// <summary>
/// `appliance replay`: captured frames through the real data path, one worker, one frame a cycle, in virtual time:
/// the clock is the frames' time, timers run between them and for a second after the last.
/// The same input gives the same output: seeds are fixed, and the key unless one is given. The
/// box is alone (all that other boxes could do is not there); one that is no proxy counts the others as usable,
/// so that it shows to whom it hands.
/// </summary>
public sealed class ReplayRun : IDisposable
{
    private const long ShortestStepNs = 100_000, AfterwardsNs = 1_000_000_000, SettledNs = 600_000_000_000;
    private const ulong Seed = 1;

    private readonly ReplayPort[] _ports;
    private readonly ReplayNeighbors _neighbors = new();
    private readonly Box _box;
    private readonly SpscQueue<SpliceEvent> _events = new(1024);
    private readonly FrameBatch _one = new(1);
    private readonly StreamWriter _verdicts;
    private readonly long[] _counts = new long[4], _drops = new long[DropReasons.Count];
    private long _now;
    private long _frames;

    /// <summary>Opens captures by interface name, and the files of <paramref name="outputDirectory"/>.</summary>
    /// <exception cref="PcapException">A capture is malformed.</exception>
    /// <exception cref="IOException">A file cannot be read or made.</exception>
    public ReplayRun(CompiledConfiguration configuration, ReadOnlySpan<byte> clusterKey, IReadOnlyDictionary<string, string> inputs, string outputDirectory)
    {
        Directory.CreateDirectory(outputDirectory);
        BoxConfig config = EngineHost.ToBoxConfig(configuration, clusterKey.ToArray());
        foreach (BoxLink link in config.Links)
        {
            if (!inputs.TryGetValue(link.InterfaceName, out string? capture)) continue;
            using PcapReader reader = PcapReader.Open(capture);
            _neighbors.Learn(link, reader);
        }
        _ports = [.. config.Links.Select(l => new ReplayPort(new PcapPort(
            l.InterfaceName,
            inputs.TryGetValue(l.InterfaceName, out string? capture) ? PcapReader.Open(capture) : null,
            PcapWriter.Create(Path.Combine(outputDirectory, l.InterfaceName + ".pcap"))), l))];
        _verdicts = new StreamWriter(Path.Combine(outputDirectory, "verdicts.jsonl"));
        _now = _ports.Min(p => p.NextTime);
        if (_now == long.MaxValue) _now = 0;
        Membership membership = new(EngineHost.NameHashes(config.Nodes));
        _box = new Box(config, BoxMemory.Private(config.Splices, Seed), _ports, membership, _events, _now, _now / 1_000_000);
        Settle(config, membership);
    }

    /// <summary>Runs to the end of the captures and a second on.</summary>
    /// <exception cref="PcapException">A capture is malformed.</exception>
    public ReplaySummary Run()
    {
        while (true)
        {
            int next = _ports[1].NextTime < _ports[0].NextTime ? 1 : 0;
            if (_ports[next].NextTime == long.MaxValue) break;
            AdvanceTo(_ports[next].NextTime);
            Treat((LinkRole)next);
        }
        AdvanceTo(_now + AfterwardsNs);
        (DropReason, long)[] reasons = [.. _drops.Select((frames, reason) => ((DropReason)reason, frames)).Where(r => r.frames > 0).OrderByDescending(r => r.frames)];
        return new ReplaySummary(_frames, _counts[0], _counts[1], _counts[2], _counts[3], reasons, _ports.Sum(p => p.CutShort));
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _verdicts.Dispose();
        _box.Dispose();
        foreach (ReplayPort port in _ports) port.Dispose();
        _neighbors.Dispose();
    }

    private void Settle(BoxConfig config, Membership membership)
    {
        ulong all = config.Nodes.Length == 64 ? ulong.MaxValue : (1ul << config.Nodes.Length) - 1, self = 1ul << config.Self;
        MembershipSlot slot = membership.Prepare(out byte number)!;
        slot.Use((config.Roles & BoxRoles.Proxy) != BoxRoles.None ? self : all & ~self);
        slot.Live = self | slot.Usable;
        slot.Factors.AsSpan().Fill(100);
        membership.Posted(number);
        // Long ago: nothing of it is in doubt any more when the first frame comes.
        _box.SetClock(_now - SettledNs, _now / 1_000_000);
        _box.Execute(new SpliceCommand { Kind = SpliceCommandKind.Membership, Node = number });
        SetClock(_now);
        // Backends are asked, and answer, before the first frame.
        Finish();
        Finish();
    }

    private void Treat(LinkRole role)
    {
        ReplayPort port = _ports[(int)role];
        SetClock(Math.Max(_now, port.NextTime));
        foreach (ReplayPort each in _ports) each.BeginFrame();
        if (port.Receive(_one) == 0) return;
        DropReason reason = _box.Process(role, _one[0]);
        _box.Egress.Flush();
        port.Release();
        Finish();
        WriteVerdict(port.Name, reason);
    }

    private void AdvanceTo(long target)
    {
        while (_box.NextDeadline < target)
        {
            long at = Math.Max(_box.NextDeadline, _now + ShortestStepNs);
            if (at >= target) break;
            SetClock(at);
            Finish();
        }
        if (target > _now) SetClock(target);
    }

    private void SetClock(long now)
    {
        if (now / 1_000_000_000 != _now / 1_000_000_000) _box.Cookies.Prepare(now / 1_000_000_000);
        _now = now;
        foreach (ReplayPort port in _ports) port.Now = now;
        _box.SetClock(now, now / 1_000_000);
    }

    // The rest of a cycle, and the neighbours' answers to what it asked.
    private void Finish()
    {
        _box.Advance();
        _box.Egress.Flush();
        for (int role = 0; role < _ports.Length; role++)
        {
            while (_ports[role].TryTakeQuestion(out NeighborQuestion question))
            {
                _box.Process((LinkRole)role, _neighbors.Answer((LinkRole)role, question));
                _box.Egress.Flush();
            }
            while (_ports[role].TryTakeProbe(out BackendProbe probe))
            {
                _box.Process((LinkRole)role, _neighbors.Answer((LinkRole)role, probe));
                _box.Egress.Flush();
            }
        }
        while (_events.TryDequeue(out _))
        {
            // Nobody to replicate to.
        }
    }

    private void WriteVerdict(string port, DropReason reason)
    {
        bool sent = _ports.Any(p => p.Sent > p.SentBefore);
        (int index, string verdict) = reason switch
        {
            DropReason.None => sent ? (0, "transmit") : (1, "hold"),
            DropReason.BytesHeldUnacknowledged or DropReason.AwaitingConfirmation or DropReason.AwaitingPeers => (1, "hold"),
            DropReason.Consumed => (2, "consume"),
            _ => (3, "drop"),
        };
        _counts[index]++;
        if (index == 3) _drops[(int)reason]++;
        using var line = new MemoryStream();
        using (var json = new Utf8JsonWriter(line))
        {
            json.WriteStartObject();
            json.WriteNumber("n", ++_frames);
            json.WriteString("port", port);
            json.WriteString("verdict", verdict);
            if (reason == DropReason.None) json.WriteNull("reason");
            else json.WriteString("reason", JsonNamingPolicy.CamelCase.ConvertName(reason.ToString()));
            json.WriteStartArray("outputs");
            foreach (ReplayPort each in _ports)
            {
                for (int n = each.SentBefore + 1; n <= each.Sent; n++)
                {
                    json.WriteStartObject();
                    json.WriteString("port", each.Name);
                    json.WriteNumber("n", n);
                    json.WriteEndObject();
                }
            }
            json.WriteEndArray();
            json.WriteEndObject();
        }
        _verdicts.WriteLine(System.Text.Encoding.UTF8.GetString(line.GetBuffer(), 0, (int)line.Length));
    }
}
