using System.Net;
using Appliance.Control.Runtime;
using Appliance.DataPath.Wire;
using Microsoft.Win32.SafeHandles;
using NUnit.Framework;

namespace Appliance.Tests.Runtime;

/// <summary>The page that an engine leaves with its supervisor. That the kernel lets go of the mutex at a kill is seen in the lab.</summary>
public sealed class ExitNoticeTests
{
    [Test]
    public void What_was_left_is_read_when_its_holder_has_ended()
    {
        (IpAddr Address, int Port)[] peers = [(Ip("10.255.0.1"), 7947), (Ip("fd00::5"), 1)];
        using ExitNoticeNative supervisor = ExitNoticeNative.Create(out SafeFileHandle file);
        using ExitNoticeNative engine = ExitNoticeNative.Open($"/proc/self/fd/{file.DangerousGetHandle()}");
        file.Dispose();
        using ManualResetEventSlim end = new();
        engine.Write("last"u8, peers);
        var holder = new Thread(() =>
        {
            engine.Hold();
            end.Wait();
        });
        holder.Start();
        Assert.That(supervisor.WaitUntilHeld(), Is.True);
        Assert.That(supervisor.Notice.SequenceEqual("last"u8), Is.True);
        Assert.That(supervisor.Addresses(), Is.EqualTo(new[] { IPEndPoint.Parse("10.255.0.1:7947"), IPEndPoint.Parse("[fd00::5]:1") }));
        // A thread that ends with a robust mutex is, to it, a process that was killed.
        end.Set();
        Assert.That(supervisor.WaitForEnd(), Is.True);
        holder.Join();
    }

    [Test]
    public void Nobody_waits_for_an_engine_that_ended_before_it_left_anything()
    {
        using ExitNoticeNative page = ExitNoticeNative.Create(out SafeFileHandle file);
        file.Dispose();
        page.GiveUp();
        Assert.That(page.WaitUntilHeld(), Is.False);
        Assert.That(page.Addresses(), Is.Empty);
    }

    [Test]
    public void Too_much_is_refused()
    {
        using ExitNoticeNative page = ExitNoticeNative.Create(out SafeFileHandle file);
        file.Dispose();
        Assert.Throws<ArgumentOutOfRangeException>(() => page.Write(new byte[ExitNoticeNative.MaxNotice + 1], []));
        Assert.Throws<ArgumentOutOfRangeException>(() => page.Write([], new (IpAddr, int)[ExitNoticeNative.MaxAddresses + 1]));
    }

    private static IpAddr Ip(string text) => IpAddr.TryParse(text, out IpAddr address) ? address : throw new ArgumentException(text);
}
