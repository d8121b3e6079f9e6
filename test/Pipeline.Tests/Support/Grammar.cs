using Pipeline.Cryptography;
using Pipeline.Dataflow;

namespace Pipeline.Tests.Support;

/// <summary>The calls that a reactor gets.</summary>
public enum Callback
{
    OnStart,
    InitPeer,
    AddPeer,
    Receive,
    RemovePeer,
    OnStop,
}

/// <summary>
/// The grammar of reactor calls as a state machine: told where each call begins and ends, it says which of them no word of the grammar has
/// at that place. Reactors of one node share what concerns all of them.
/// </summary>
/// <remarks>
/// <para>Source: <c>docs/protocol.md</c>, the grammar.</para>
/// <para>A call that the switch has given up waiting for may still run when the next comes. With a clock that is exact, only one that has run for
/// the grace period since it began and since its peer stopped counts as given up; with <see cref="AllowsStuckCalls"/>, every one.</para>
/// </remarks>
internal sealed class Grammar
{
    // The grammars of all reactors of the node, and what guards all of them.
    private readonly List<Grammar> _node;
    private readonly Lock _gate;

    private readonly TimeProvider? _time;
    private readonly TimeSpan _grace;
    private readonly Dictionary<IPeer, Word> _words = new(ReferenceEqualityComparer.Instance);
    private readonly Dictionary<NodeId, Word> _last = [];
    private readonly List<string> _violations = [];
    private Phase _phase;
    private long _startBegan;

    /// <summary>The grammar of one reactor.</summary>
    /// <param name="other">That of another reactor of the same node.</param>
    /// <param name="time">A clock that moves only between calls, and while one waits for it.</param>
    /// <param name="grace">After how long by that clock a call is given up.</param>
    public Grammar(Grammar? other = null, TimeProvider? time = null, TimeSpan grace = default)
    {
        _node = other?._node ?? [];
        _gate = other?._gate ?? new Lock();
        _time = time;
        _grace = grace;
        lock (_gate)
        {
            _node.Add(this);
        }
    }

    public bool AllowsStuckCalls { get; init; }

    public IReadOnlyList<string> Violations => Read(() => (IReadOnlyList<string>)[.. _violations]);

    /// <summary>Peers that were initialised, ever, in order.</summary>
    public IReadOnlyList<IPeer> Peers => Read(() => (IReadOnlyList<IPeer>)[.. _words.Values.Select(word => word.Peer)]);

    /// <summary>Peers that were initialised, ever.</summary>
    public int Initialised => Count(_ => true);

    /// <summary>Peers that were added, ever.</summary>
    public int Added => Count(word => word.WasAdded);

    /// <summary>Peers that were removed, ever.</summary>
    public int Removed => Count(word => word.Stage == Stage.Removed);

    /// <summary>Peers whose removal has begun, ever.</summary>
    public int Removing => Count(word => word.Stage >= Stage.Removing);

    /// <summary>Calls that were given up before they returned, ever.</summary>
    public int GivenUp { get; private set; }

    /// <summary>The most calls of <see cref="Callback.AddPeer"/> that ran at once.</summary>
    public int MostAddsAtOnce { get; private set; }

    /// <summary>Peers of a node that was a peer before.</summary>
    public int CameBack { get; private set; }

    private long Now => _time?.GetTimestamp() ?? 0;

    /// <summary>Whether a peer's addition has begun.</summary>
    public bool HasBegunToAdd(IPeer peer) => Count(word => ReferenceEquals(word.Peer, peer) && word.HasBegunToAdd) > 0;

    /// <summary>Whether a peer of a node is being initialised.</summary>
    public bool IsInitialising(NodeId id) => Count(word => word.Peer.Id == id && word.Stage == Stage.Initialising) > 0;

    public void Begin(Callback callback, IPeer? peer = null)
    {
        lock (_gate)
        {
            if (peer is null)
            {
                BeginOfReactor(callback);
            }
            else
            {
                BeginOfPeer(callback, peer);
            }
        }
    }

    public void End(Callback callback, IPeer? peer = null)
    {
        lock (_gate)
        {
            if (peer is null)
            {
                _phase = callback == Callback.OnStart && _phase == Phase.Starting ? Phase.Started : _phase;
                return;
            }

            Word word = _words[peer];
            word.Running.Remove(callback);
            switch (callback)
            {
                case Callback.InitPeer when word.Stage == Stage.Initialising:
                    word.Stage = Stage.Initialised;
                    break;
                case Callback.AddPeer:
                    word.Stage = word.Stage == Stage.Adding ? Stage.Added : word.Stage;
                    word.WasAdded = true;
                    break;
                case Callback.RemovePeer:
                    word.Stage = Stage.Removed;
                    break;
            }
        }
    }

    private void BeginOfReactor(Callback callback)
    {
        bool isLegal = callback switch
        {
            Callback.OnStart => _phase == Phase.Registered,

            // After a start that was given up, too; and when no reactor of the node has a peer any more.
            _ => (_phase == Phase.Started || (_phase == Phase.Starting && IsLong(_startBegan))) && _node.All(grammar => grammar._words.Values.All(grammar.IsOver)),
        };
        Check(isLegal, callback, peer: null, _phase.ToString());
        _phase = callback == Callback.OnStart ? Phase.Starting : Phase.Stopped;
        _startBegan = Now;
    }

    private void BeginOfPeer(Callback callback, IPeer peer)
    {
        Word? word = _words.GetValueOrDefault(peer);

        // The same peer in all reactors that have heard of it, and in those that have not.
        List<Word?> everywhere = [.. _node.Select(grammar => grammar._words.GetValueOrDefault(peer))];
        bool fits = callback switch
        {
            Callback.InitPeer => word is null
                && everywhere.TrueForAll(other => other is null or { Stage: Stage.Initialised })
                && _node.TrueForAll(grammar => !grammar._last.TryGetValue(peer.Id, out Word? former) || ReferenceEquals(former.Peer, peer) || grammar.IsOver(former)),
            Callback.AddPeer => word is { Stage: Stage.Initialised } && everywhere.TrueForAll(other => other is { Stage: >= Stage.Initialised and < Stage.Removing }),
            Callback.Receive => word is { Stage: Stage.Initialised or Stage.Adding or Stage.Added }
                && !word.Running.ContainsKey(Callback.Receive)
                && everywhere.TrueForAll(other => other is { Stage: >= Stage.Initialised and < Stage.Removing }),

            // Also when it was initialised in some reactors only, and stops.
            _ => word is { Stage: < Stage.Removing } && word.Running.Values.All(began => IsGivenUp(word, began)),
        };
        Check(fits && _node.TrueForAll(grammar => grammar._phase == Phase.Started), callback, peer, $"{_phase}, {word}; in all reactors: {string.Join(" | ", everywhere)}");
        if (word is null)
        {
            word = _words[peer] = new Word(peer);
            CameBack += _last.ContainsKey(peer.Id) ? 1 : 0;
            _last[peer.Id] = word;
            peer.Stopped.UnsafeRegister(_ => word.StoppedAt = Now, null);
        }

        switch (callback)
        {
            case Callback.AddPeer:
                word.Stage = Stage.Adding;
                word.HasBegunToAdd = true;
                MostAddsAtOnce = Math.Max(MostAddsAtOnce, 1 + _words.Values.Count(other => other.Running.ContainsKey(Callback.AddPeer)));
                break;
            case Callback.RemovePeer:
                word.Stage = Stage.Removing;
                GivenUp += word.Running.Count;
                break;
        }

        word.Running[callback] = Now;
    }

    private bool IsOver(Word word) => word.Stage == Stage.Removed || (word.Stage == Stage.Removing && IsLong(word.Running[Callback.RemovePeer]));

    private bool IsGivenUp(Word word, long began) => AllowsStuckCalls || (word.StoppedAt is { } stopped && IsLong(Math.Max(began, stopped)));

    private bool IsLong(long since) => AllowsStuckCalls || (_time is not null && _time.GetElapsedTime(since) >= _grace);

    private int Count(Func<Word, bool> predicate) => Read(() => _words.Values.Count(predicate));

    private T Read<T>(Func<T> read)
    {
        lock (_gate)
        {
            return read();
        }
    }

    private void Check(bool isLegal, Callback callback, IPeer? peer, string state)
    {
        if (!isLegal)
        {
            _violations.Add($"{callback} of {peer?.ToString() ?? "the reactor"} while {state}");
        }
    }

    private enum Phase
    {
        Registered,
        Starting,
        Started,
        Stopped,
    }

    private enum Stage
    {
        Initialising,
        Initialised,
        Adding,
        Added,
        Removing,
        Removed,
    }

    private sealed class Word(IPeer peer)
    {
        public IPeer Peer { get; } = peer;

        public Stage Stage { get; set; }

        public bool HasBegunToAdd { get; set; }

        public bool WasAdded { get; set; }

        /// <summary>The calls that have not returned, and when they began.</summary>
        public Dictionary<Callback, long> Running { get; } = [];

        public long? StoppedAt { get; set; }

        public override string ToString() => $"{Stage}{(Running.Count > 0 ? $", in {string.Join(", ", Running.Keys)}" : "")}";
    }
}
