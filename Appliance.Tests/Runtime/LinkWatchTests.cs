using Appliance.Control.Runtime;
using Appliance.DataPath.Port;
using NUnit.Framework;

namespace Appliance.Tests.Runtime;

[TestFixture]
internal sealed class LinkWatchTests
{
    [Test]
    public void Changes_of_carrier_are_said_once()
    {
        Host host = new();
        LinkWatch watch = new(host, [5, 6]);
        watch.Look(all: true);
        Assert.That(host.Said, Is.Empty, "all is as it should be");
        watch.On(new LinkEvent(6, IsUp: true, HasCarrier: false, IsRemoved: false, Mtu: 0));
        watch.On(new LinkEvent(6, IsUp: false, HasCarrier: false, IsRemoved: false, Mtu: 0));
        watch.On(new LinkEvent(7, IsUp: false, HasCarrier: false, IsRemoved: true, Mtu: 0));
        watch.On(new LinkEvent(6, IsUp: true, HasCarrier: true, IsRemoved: false, Mtu: 0));
        watch.On(new LinkEvent(6, IsUp: true, HasCarrier: true, IsRemoved: false, Mtu: 1400));
        Assert.That(host.Said, Is.EqualTo(new[] { "1 Down", "1 Up" }));
    }

    [TestCase(9)]
    [TestCase(5, Description = "the kernel may give the same index again")]
    public void A_removed_interface_is_opened_when_there_is_one_of_its_name(int index)
    {
        Host host = new();
        LinkWatch watch = new(host, [5, 6]);
        host.Remove(0);
        watch.On(new LinkEvent(5, IsUp: false, HasCarrier: false, IsRemoved: true, Mtu: 0));
        watch.Look(all: false);
        watch.Look(all: true);
        Assert.That((watch.IsAnyGone, host.Opened), Is.EqualTo((true, 0)));
        host.Add(0, index, up: false);
        host.Refuses = true;
        watch.Look(all: false);
        Assert.That((watch.IsAnyGone, host.Opened), Is.EqualTo((true, 0)), "tried again");
        host.Refuses = false;
        watch.On(new LinkEvent(index, IsUp: true, HasCarrier: true, IsRemoved: false, Mtu: 0));
        watch.Look(all: false);
        Assert.That((watch.IsAnyGone, host.Opened), Is.EqualTo((false, 1)));
        watch.On(new LinkEvent(index, IsUp: true, HasCarrier: true, IsRemoved: false, Mtu: 0));
        watch.Look(all: false);
        Assert.That(host.Said, Is.EqualTo(new[] { "0 Gone", "0 reopened", "0 Down", "0 Up" }));
        Assert.That(host.Opened, Is.EqualTo(1));
    }

    [Test]
    public void What_happened_unnoticed_is_found()
    {
        Host host = new();
        LinkWatch watch = new(host, [5, 6]);
        host.Remove(0);
        host.Remove(1);
        host.Add(1, 12, up: true);
        watch.Look(all: true);
        Assert.That(host.Said, Is.EqualTo(new[] { "0 Gone", "1 Gone", "1 reopened", "1 Up" }));
        host.Add(0, 13, up: true);
        watch.Look(all: true);
        Assert.That(host.Said.Skip(4), Is.EqualTo(new[] { "0 reopened", "0 Up" }));
    }

    [Test]
    public void An_interface_that_vanishes_while_it_is_looked_at_is_gone()
    {
        Host host = new() { Vanishes = true };
        LinkWatch watch = new(host, [5, 6]);
        watch.Look(all: true);
        Assert.That(host.Said, Is.EqualTo(new[] { "0 Gone", "1 Gone" }));
        host.Vanishes = false;
        watch.Look(all: false);
        Assert.That(host.Said.Skip(2), Is.EqualTo(new[] { "0 reopened", "0 Up", "1 reopened", "1 Up" }));
    }

    private sealed class Host : ILinkHost
    {
        private readonly LinkInfo?[] _links = [new LinkInfo("a", 5, 1500, default, true, true), new LinkInfo("b", 6, 1500, default, true, true)];

        public List<string> Said { get; } = [];

        public int Opened { get; private set; }

        public bool Refuses { get; set; }

        public bool Vanishes { get; set; }

        public void Remove(int link) => _links[link] = null;

        public void Add(int link, int index, bool up) => _links[link] = new LinkInfo("x", index, 1500, default, up, up);

        public bool Exists(int link) => _links[link] is not null;

        public LinkInfo Query(int link) => (Vanishes ? null : _links[link]) ?? throw new PortException("there is none");

        public void Reopen(int link)
        {
            if (Refuses) throw new PortException("not now");
            Opened++;
        }

        public void Changed(int link, LinkState state) => Said.Add($"{link} {state}");

        public void Reopened(int link) => Said.Add($"{link} reopened");
    }
}
