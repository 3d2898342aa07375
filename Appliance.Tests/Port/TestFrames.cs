using System.Net;
using Appliance.DataPath.Wire;

namespace Appliance.Tests.Port;

/// <summary>Small frames for port tests.</summary>
internal static class TestFrames
{
    internal static MacAddress Mac(string text) => MacAddress.TryParse(text, out MacAddress mac) ? mac : throw new ArgumentException(text, nameof(text));

    internal static byte[] Frame(MacAddress destination, ushort type)
    {
        var frame = new byte[60];
        destination.Write(frame);
        Mac("02:00:00:00:99:99").Write(frame.AsSpan(6));
        frame[12] = (byte)(type >> 8);
        frame[13] = (byte)type;
        return frame;
    }

    internal static byte[] Tcp(MacAddress destination, string from, string to, ushort fromPort, ushort toPort)
    {
        byte[] frame = Frame(destination, 0x0800);
        frame[14] = 0x45;
        frame[17] = 40;
        frame[22] = 64;
        frame[23] = 6;
        IPAddress.Parse(from).TryWriteBytes(frame.AsSpan(26), out _);
        IPAddress.Parse(to).TryWriteBytes(frame.AsSpan(30), out _);
        System.Buffers.Binary.BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(34), fromPort);
        System.Buffers.Binary.BinaryPrimitives.WriteUInt16BigEndian(frame.AsSpan(36), toPort);
        frame[46] = 0x50;
        return frame;
    }
}
