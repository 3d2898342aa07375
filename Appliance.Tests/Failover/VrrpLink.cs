using Appliance.Control.Failover;
using Appliance.DataPath.Wire;
using NUnit.Framework;

namespace Appliance.Tests.Failover;

/// <summary>Virtual routers of one id on one link, in virtual time: advertisements are bytes, and may be late, lost, or kept from some.</summary>
internal sealed class VrrpLink
{
    public const long Millisecond = 1_000_000;

    private static readonly IpAddr Group = Parse("224.0.0.18");
    private readonly PriorityQueue<(int To, IpAddr From, byte[] Bytes), (long At, long Order)> _wire = new();
    private readonly Random _random;
    private long _order;

    public VrrpLink(int seed, params VrrpOptions[] routers)
    {
        _random = new Random(seed);
        Routers = [.. routers.Select((o, i) => new Router(this, i, o))];
    }

    public Router[] Routers { get; }

    public long Now { get; private set; }

    /// <summary>Share of advertisements lost, and pairs (from, to) that do not hear each other.</summary>
    public double Loss { get; set; }

    public HashSet<(int, int)> Cut { get; } = [];

    public int[] Active => [.. Routers.Where(r => r.IsRunning && r.Core.State == VrrpState.Active).Select(r => r.Number)];

    public static IpAddr Parse(string text) => IpAddr.TryParse(text, out IpAddr address) ? address : throw new ArgumentException(text, nameof(text));

    public static VrrpOptions Options(int number, byte priority, bool preempt = true, int intervalMs = 10) =>
        new() { RouterId = 10, Source = Parse($"192.0.2.{number + 1}"), Priority = priority, Preempt = preempt, IntervalNs = intervalMs * Millisecond };

    /// <summary>Runs for a time; after each step <paramref name="always"/>.</summary>
    public void Run(long milliseconds, Action? always = null)
    {
        long end = Now + (milliseconds * Millisecond);
        while (true)
        {
            long next = Routers.Where(r => r.IsRunning).Select(r => r.Core.NextDeadline).Append(end).Min();
            if (_wire.TryPeek(out _, out (long At, long Order) first)) next = Math.Min(next, first.At);
            if (next >= end) break;
            Now = Math.Max(Now, next);
            while (_wire.TryPeek(out _, out first) && first.At <= Now)
            {
                (int to, IpAddr from, byte[] bytes) = _wire.Dequeue();
                Routers[to].Hear(from, bytes);
            }
            foreach (Router router in Routers) router.Turn();
            always?.Invoke();
        }
        Now = end;
    }

    public void Send(Router from, byte priority)
    {
        var bytes = new byte[12];
        VrrpView.Write(bytes, from.Options.Source, Group, from.Options.RouterId, priority, from.Options.IntervalNs, [Parse("203.0.113.10")]);
        foreach (Router to in Routers)
        {
            if (to == from || Cut.Contains((from.Number, to.Number)) || _random.NextDouble() < Loss) continue;
            _wire.Enqueue((to.Number, from.Options.Source, bytes), (Now + _random.Next(50_000, 500_000), _order++));
        }
    }

    internal sealed class Router : IVrrpOutput
    {
        private readonly VrrpLink _link;
        private readonly List<(IpAddr From, byte[] Bytes)> _waiting = [];

        public Router(VrrpLink link, int number, VrrpOptions options)
        {
            (_link, Number, Options) = (link, number, options);
            Core = new VrrpCore(options, this);
        }

        public int Number { get; }

        public VrrpOptions Options { get; }

        public VrrpCore Core { get; private set; }

        public bool IsRunning { get; private set; } = true;

        /// <summary>Everything it did: "active Silence", "advert 100", "announce".</summary>
        public List<string> Did { get; } = [];

        public List<long> AdvertsAt { get; } = [];

        public void Start() => Core.Start(_link.Now);

        public void Pause() => IsRunning = false;

        /// <summary>Goes on: what came meanwhile is in the socket.</summary>
        public void Resume()
        {
            IsRunning = true;
            foreach ((IpAddr from, byte[] bytes) in _waiting) Hear(from, bytes);
            _waiting.Clear();
            Turn();
        }

        /// <summary>Dies, and is started anew.</summary>
        public void Restart()
        {
            _waiting.Clear();
            IsRunning = true;
            Core = new VrrpCore(Options, this);
            Start();
        }

        public void Hear(IpAddr from, byte[] bytes)
        {
            if (!IsRunning)
            {
                _waiting.Add((from, bytes));
                return;
            }
            if (VrrpView.TryParse(bytes, from, Group, 255, out VrrpView view) == VrrpReject.None) Core.Receive(view, from, _link.Now);
        }

        public void Turn()
        {
            if (IsRunning) Core.Step(_link.Now);
        }

        public void SendAdvert(byte priority)
        {
            // Also its last one: state before address, and address before state on the way back.
            Assert.That((IsRunning, Core.State), Is.EqualTo((true, VrrpState.Active)));
            Did.Add($"advert {priority}");
            AdvertsAt.Add(_link.Now);
            _link.Send(this, priority);
        }

        public void Became(VrrpState state, VrrpCause cause) => Did.Add($"{state} {cause}");

        public void Announce() => Did.Add("announce");
    }
}
