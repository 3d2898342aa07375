using System.Net;
using Appliance.DataPath.Port;
using Appliance.DataPath.Wire;
using NUnit.Framework;
using static Appliance.Tests.Port.TestFrames;

namespace Appliance.Tests.Port;

public sealed class FilterProgramTests
{
    private static readonly MacAddress Own = new(0x0200_0000_0001), Virtual = new(0x0000_5e00_010a), Group = new(0x0100_5e00_0012);

    [TestCase("02:00:00:00:00:01", 0x0800, true, TestName = "own address")]
    [TestCase("02:00:00:00:00:01", 0x1234, true, TestName = "own address, any type")]
    [TestCase("02:00:00:00:00:01", 0x88b5, false, TestName = "own address, beat")]
    [TestCase("00:00:5e:00:01:0a", 0x86dd, true, TestName = "virtual address")]
    [TestCase("01:00:5e:00:00:12", 0x0800, true, TestName = "joined group")]
    [TestCase("01:00:5e:00:00:13", 0x0800, false, TestName = "other group")]
    [TestCase("03:00:00:00:00:01", 0x0800, false, TestName = "same low half, other high half")]
    [TestCase("02:00:00:00:00:02", 0x0800, false, TestName = "same high half, other low half")]
    [TestCase("ff:ff:ff:ff:ff:ff", 0x0806, true, TestName = "broadcast ARP")]
    [TestCase("ff:ff:ff:ff:ff:ff", 0x0800, false, TestName = "broadcast IP")]
    [TestCase("ff:fe:ff:ff:ff:ff", 0x0806, false, TestName = "nearly broadcast ARP")]
    [TestCase("02:00:00:00:00:01", 0x0806, true, TestName = "ARP to the own address")]
    public void Accepts(string destination, int type, bool accepted)
    {
        var filter = new MacFilter([Own, Virtual, Group, Own]);
        Assert.That(filter.Addresses.Length, Is.EqualTo(3));
        Assert.That(BpfMachine.Run(filter.Program, Frame(Mac(destination), (ushort)type)) != 0, Is.EqualTo(accepted));
    }

    [Test]
    public void Takes_as_many_addresses_as_it_says()
    {
        var addresses = new MacAddress[MacFilter.MaxAddresses];
        for (int i = 0; i < addresses.Length; i++) addresses[i] = new MacAddress(0x0200_0000_0000 + ((ulong)i << 8));
        var filter = new MacFilter(addresses);
        Assert.That(filter.Program.Length, Is.LessThanOrEqualTo(4096));
        Assert.That(BpfMachine.Run(filter.Program, Frame(addresses[^1], 0x0800)), Is.Not.Zero);
        Assert.That(BpfMachine.Run(filter.Program, Frame(new MacAddress(0x0200_0000_0001), 0x0800)), Is.Zero);
        Assert.That(() => new MacFilter([.. addresses, MacAddress.Broadcast]), Throws.ArgumentException);
    }

    [Test]
    public void Solicited_node_group_is_made_of_the_last_three_bytes()
    {
        IpAddr address = IpAddr.From(IPAddress.Parse("2001:db8::1234:5678"));
        Assert.That(MacFilter.SolicitedNode(address).ToString(), Is.EqualTo("33:33:ff:34:56:78"));
    }

    [Test]
    public void Fanout_sends_both_directions_of_a_flow_to_the_same_worker_and_spreads_flows([Values(1, 2, 3, 8)] int workers, [Values] bool v6)
    {
        BpfInstruction[] external = FanoutProgram.Build(ClientSide.Source, workers), inside = FanoutProgram.Build(ClientSide.Destination, workers);
        var used = new int[workers];
        var random = new Random(7);
        for (int i = 0; i < 4000; i++)
        {
            (byte[] client, byte[] service, byte[] real) = (Address(random, v6), Address(random, v6), Address(random, v6));
            ushort port = (ushort)random.Next(1024, 65536);
            uint there = BpfMachine.Run(external, Ip(client, service, port, 80));
            uint back = BpfMachine.Run(inside, Ip(real, client, 8080, port));
            Assert.That(back, Is.EqualTo(there));
            used[there]++;
        }
        Assert.That(used.Min(), Is.GreaterThan(4000 / workers * 8 / 10));
    }

    [Test]
    public void Fanout_leaves_everything_without_ports_in_a_fixed_place_to_worker_0()
    {
        BpfInstruction[] program = FanoutProgram.Build(ClientSide.Source, 7);
        for (int i = 1; i < 50; i++)
        {
            byte[] address = [10, 0, 0, (byte)i];
            byte[] fragment = Ip(address, address, 1000, 80), options = Ip(address, address, 1000, 80), icmp = Ip(address, address, 1000, 80);
            fragment[20] = 0x20;
            options[14] = 0x46;
            icmp[23] = 1;
            Assert.That(BpfMachine.Run(program, fragment), Is.Zero);
            Assert.That(BpfMachine.Run(program, options), Is.Zero);
            Assert.That(BpfMachine.Run(program, icmp), Is.Zero);
            Assert.That(BpfMachine.Run(program, Frame(Own, 0x0806)), Is.Zero);
        }
    }

    private static byte[] Address(Random random, bool v6)
    {
        var address = new byte[v6 ? 16 : 4];
        random.NextBytes(address);
        return address;
    }

    private static byte[] Ip(byte[] from, byte[] to, ushort fromPort, ushort toPort)
    {
        bool v6 = from.Length == 16;
        var frame = new byte[100];
        frame[12] = (byte)(v6 ? 0x86 : 0x08);
        frame[13] = (byte)(v6 ? 0xdd : 0x00);
        frame[14] = (byte)(v6 ? 0x60 : 0x45);
        frame[v6 ? 20 : 23] = 6;
        from.CopyTo(frame, v6 ? 22 : 26);
        to.CopyTo(frame, v6 ? 38 : 30);
        int transport = v6 ? 54 : 34;
        System.Buffers.Binary.BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(transport), fromPort);
        System.Buffers.Binary.BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(transport + 2), toPort);
        return frame;
    }
}
