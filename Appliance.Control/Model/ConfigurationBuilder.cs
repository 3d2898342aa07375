using Appliance.DataPath.State;
using Appliance.DataPath.Wire;

namespace Appliance.Control.Model;

/// <summary>A value and where it stands.</summary>
internal readonly record struct Located<T>(T Value, SourceSpan Span);

/// <summary>A service while it is being read. Address and port are default if they were wrong.</summary>
internal sealed class ServiceDraft(string name, SourceSpan span)
{
    public string Name { get; } = name;
    public SourceSpan Span { get; } = span;
    public Located<IpAddr> Address { get; set; }
    public ushort Port { get; set; }
    public bool Acked { get; set; }
    public Located<(ShareMode Mode, int Burst)>? Share { get; set; }
    public List<PoolDraft> Pools { get; } = [];
    public List<RouteDraft> Routes { get; } = [];
}

/// <summary>A pool while it is being read; <see cref="Service"/> is null if the service is not known.</summary>
internal sealed class PoolDraft(string name, SourceSpan span)
{
    public string Name { get; } = name;
    public SourceSpan Span { get; } = span;
    public ServiceDraft? Service { get; set; }
    public bool Proxy { get; set; }
    public List<Located<RealSettings>> Reals { get; } = [];
}

/// <summary>A route while it is being read.</summary>
internal sealed record RouteDraft(RouteKind Kind, Located<string> Value, SourceSpan KindSpan, PoolDraft? Pool);

/// <summary>What was read so far, with places. Belongs to one run of the parser.</summary>
internal sealed class ConfigurationBuilder(DiagnosticBag diagnostics)
{
    private readonly Dictionary<(SymbolKind Kind, string Name), (SourceSpan Span, object? Draft)> _symbols = [];
    private readonly HashSet<string> _failed = new(StringComparer.Ordinal);
    private readonly HashSet<string> _unread = new(StringComparer.Ordinal);
    private readonly HashSet<(SymbolKind Kind, string Name)> _undefined = [];
    private readonly HashSet<SymbolKind> _nameless = [];
    private bool _anyFailed;

    public DiagnosticBag Diagnostics { get; } = diagnostics;
    public Located<string>? Hostname { get; set; }
    public Dictionary<LinkRole, Located<InterfaceSettings>> Interfaces { get; } = [];
    public Located<IpAddr>? ExternalGateway4 { get; set; }
    public Located<IpAddr>? ExternalGateway6 { get; set; }
    public Located<IpAddr>? InternalGateway4 { get; set; }
    public Located<IpAddr>? InternalGateway6 { get; set; }
    public List<Located<Prefix>> InternalNets { get; } = [];
    public Located<(bool Sharer, bool Proxy)>? Roles { get; set; }
    public Located<string>? KeyFile { get; set; }
    public List<Located<PeerSettings>> Peers { get; } = [];
    public Located<(TimeSpan Interval, int Misses)>? Heartbeat { get; set; }
    public Located<(int Count, bool Pinned)>? Workers { get; set; }
    public Located<int>? Splices { get; set; }
    public Located<LogLevel>? LogLevel { get; set; }
    public List<ServiceDraft> Services { get; } = [];
    public List<PoolDraft> Pools { get; } = [];

    /// <summary>Notes that a statement of this name was there but could not be read, so that nobody complains that it is missing.</summary>
    public void Failed(string statement) => _failed.Add(statement);

    /// <summary>A line was not understood, so that any statement may have been meant, and any of its words be a name that it was to define.</summary>
    public void FailedUnknown(IEnumerable<string> words)
    {
        _anyFailed = true;
        _unread.UnionWith(words);
    }

    /// <summary>A line's first word was understood and the rest was not: its statements count as failed, its words as defined.</summary>
    public void FailedLine(string first, IEnumerable<string> words)
    {
        Failed(first);
        foreach (Statement statement in StatementTable.Starting(first)) Failed(statement.Name);
        _unread.UnionWith(words);
    }

    /// <summary>A definition without a usable name was there: any name of that kind may be the one.</summary>
    public void FailedName(SymbolKind kind) => _nameless.Add(kind);

    /// <summary>True if a statement of this name may have stood in the text and could not be read.</summary>
    public bool HasFailed(string statement) => _anyFailed || _failed.Contains(statement);

    /// <summary>Sets what may be said once; a second time is an error that names the first place.</summary>
    public Located<T>? Once<T>(Located<T>? field, T value, SourceSpan span, string what)
    {
        if (field is null) return new Located<T>(value, span);
        Diagnostics.Error(span, $"{what} is given twice", first: field.Value.Span);
        return field;
    }

    /// <summary>Defines a name; an error if it is taken. The first definition stays.</summary>
    public void Define(SymbolKind kind, string name, SourceSpan span)
    {
        if (!_symbols.TryAdd((kind, name), (span, null)))
            Diagnostics.Error(span, $"{Word(kind)} '{name}' is defined twice", first: _symbols[(kind, name)].Span);
    }

    /// <summary>True if <paramref name="span"/> is where the name was defined first.</summary>
    public bool IsDefinition(SymbolKind kind, string name, SourceSpan span) => _symbols.TryGetValue((kind, name), out (SourceSpan Span, object? Draft) found) && found.Span == span;

    /// <summary>Keeps what a name stands for.</summary>
    public void Attach(SymbolKind kind, string name, object draft) => _symbols[(kind, name)] = (_symbols[(kind, name)].Span, draft);

    /// <summary>What the name in a slot stands for; null, reported once, if it is not defined; null without a word if its definition was, or may have been, in a line that was wrong.</summary>
    public T? Resolve<T>(BoundStatement statement, string slot)
        where T : class
    {
        if (!statement.TryGet(slot, out string name)) return null;
        SymbolKind kind = Slots.Get(slot).Refers;
        if (_symbols.TryGetValue((kind, name), out (SourceSpan Span, object? Draft) found)) return found.Draft as T;
        if (_unread.Contains(name) || _nameless.Contains(kind) || !_undefined.Add((kind, name))) return null;
        string? nearest = Diagnostics.IsFull ? null : Suggestion.Nearest(name, Names(kind));
        Diagnostics.Error(statement.SpanOf(slot), $"undefined {Word(kind)} '{name}'", Hint(kind, name, nearest), nearest);
        return null;
    }

    /// <summary>All names of a kind.</summary>
    public IEnumerable<string> Names(SymbolKind kind) => _symbols.Keys.Where(k => k.Kind == kind).Select(k => k.Name);

    private static string Word(SymbolKind kind) => kind switch { SymbolKind.Peer => "peer", SymbolKind.Service => "service", _ => "pool" };

    private static string? Hint(SymbolKind kind, string name, string? nearest) => nearest is not null ? null
        : kind == SymbolKind.Service ? $"define it: service {name} is ADDRESS tcp PORT splice" : $"define it: pool {name} for SERVICE";
}
