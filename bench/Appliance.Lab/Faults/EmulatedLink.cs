using System.Globalization;
using System.Text.Json;
using Appliance.DataPath.Port;
using Appliance.Lab.Net;

namespace Appliance.Lab.Faults;

/// <summary>
/// A link with delay, loss, duplication or reordering: the host's veth ends at a switch of its own, from which a
/// process in a namespace of its own carries frames to the real switch. Declare before Build, start after it.
/// About a gigabit per second; MTU-sized frames.
/// </summary>
public sealed class EmulatedLink
{
    private readonly Host _carrier;
    private LabProcess? _process;

    private EmulatedLink(Host carrier, Link link)
    {
        _carrier = carrier;
        Link = link;
    }

    /// <summary>The host's own link.</summary>
    public Link Link { get; }

    /// <summary>Declares the link of a host to a switch through an emulator.</summary>
    public static EmulatedLink Connect(LabNetwork lab, Host host, Switch to, LinkOptions options)
    {
        int number = lab.Hosts.Count(h => h.Name.StartsWith("wire", StringComparison.Ordinal)) + 1;
        var carrier = lab.AddHost(string.Create(CultureInfo.InvariantCulture, $"wire{number}"));
        var between = lab.AddSwitch(carrier.Name);
        var link = host.Connect(between, options);
        carrier.Connect(between, new LinkOptions("a") { Mtu = options.Mtu });
        carrier.Connect(to, new LinkOptions("b") { Mtu = options.Mtu });
        return new EmulatedLink(carrier, link);
    }

    /// <summary>Starts carrying frames; until then, and after <see cref="Stop"/>, the link is dead.</summary>
    public void Start(FaultPlan fromHost, FaultPlan toHost, ulong seed)
    {
        _process = _carrier.Start(LabTool.Spec("emulate", inline: false, "emulate", "a", "b",
            "--seed", seed.ToString(CultureInfo.InvariantCulture),
            "--forth", JsonSerializer.Serialize(fromHost, EmulatorJson.Default.FaultPlan),
            "--back", JsonSerializer.Serialize(toHost, EmulatorJson.Default.FaultPlan)));
        _process.WaitForLog("carrying", TimeSpan.FromSeconds(20));
    }

    /// <summary>Stops carrying frames; what was done to them, from the host (forth) and to it (back).</summary>
    public EmulatorReport Stop()
    {
        _process!.Terminate(TimeSpan.FromSeconds(5));
        string last = _process.Log.Split('\n', StringSplitOptions.RemoveEmptyEntries)[^1];
        return EmulatorReport.Parse(last) ?? throw new CommandFailedException(_process.Log);
    }
}
