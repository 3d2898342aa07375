using System.Text;
using Appliance.DataPath.State;

namespace Appliance.Tests.Paths;

/// <summary>A box's peers, scripted by the commands and events of its channel.</summary>
internal static class ScriptedPeer
{
    public static readonly BoxOptions Two = new() { Nodes = 2, Acked = true };

    public static ClientEnd OwnClient(BoxHarness box) => box.Client(box.PortOwnedBy(0));

    public static void Confirm(BoxHarness box, in SpliceEvent asked) => box.Tell(new SpliceCommand { Kind = SpliceCommandKind.Confirmed, Ticket = asked.Ticket, Offset = asked.Offset + asked.Length });

    public static SpliceEvent Single(BoxHarness box, SpliceEventKind kind) => box.Events().Single(e => e.Kind == kind);

    /// <summary>A record as its owner, another box, would have sent it.</summary>
    public static (SpliceEvent Record, ClientEnd Client, ServerEnd Server) Elsewhere(BoxOptions options, Func<BoxHarness, ushort>? port = null, int prefix = 0)
    {
        using BoxHarness other = new(options with { Nodes = 2, Acked = false, SendsProxyHeader = prefix > 0 });
        ClientEnd client = other.Client(port?.Invoke(other) ?? other.PortOwnedBy(0));
        client.Connect();
        client.Say(ClientEnd.Request);
        ServerEnd server = other.Accept();
        return (Single(other, SpliceEventKind.Changed), client, server);
    }

    public static SpliceCommand Import(in SpliceEvent message, byte origin = 1)
    {
        SpliceCommand command = new() { Kind = SpliceCommandKind.Import, Record = message.Record, Progress = message.Progress };
        command.Record.Origin = origin;
        return command;
    }

    /// <summary>Request bytes as the peer gets them that offered them, or took the offer back.</summary>
    public static SpliceCommand Owned(in SpliceEvent offered) => new()
    {
        Kind = SpliceCommandKind.OwnedBytes,
        Record = offered.Record,
        CookieOptions = offered.CookieOptions,
        Bytes = offered.Bytes,
        Length = offered.Length,
        Offset = offered.Offset,
    };

    /// <summary>All that waits to be read at the server, in order.</summary>
    public static string Text(BoxHarness box)
    {
        StringBuilder text = new();
        while (box.ToServer.TryDequeue(out Segment? segment)) text.Append(Encoding.ASCII.GetString(segment.Payload));
        return text.ToString();
    }
}
