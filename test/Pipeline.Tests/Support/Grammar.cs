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
/// at that place.
/// </summary>
/// <remarks>Source: <c>docs/protocol.md</c>, the grammar.</remarks>
internal sealed class Grammar
{
    private readonly Lock _gate = new();
    private readonly Dictionary<IPeer, Word> _words = new(ReferenceEqualityComparer.Instance);
    private readonly Dictionary<NodeId, Word> _present = [];
    private readonly List<string> _violations = [];
    private Phase _phase;

    /// <summary>A call that the switch has given up waiting for may still run when the next comes.</summary>
    public bool AllowsStuckCalls { get; init; }

    public IReadOnlyList<string> Violations
    {
        get
        {
            lock (_gate)
            {
                return [.. _violations];
            }
        }
    }

    /// <summary>Peers that were initialised, ever.</summary>
    public int Initialised => Count(_ => true);

    /// <summary>Peers that were added, ever.</summary>
    public int Added => Count(word => word.WasAdded);

    /// <summary>Peers that were removed, ever.</summary>
    public int Removed => Count(word => word.Stage == Stage.Removed);

    public void Begin(Callback callback, IPeer? peer = null)
    {
        lock (_gate)
        {
            if (peer is null)
            {
                bool isLegal = callback == Callback.OnStart
                    ? _phase == Phase.Registered
                    : _phase is Phase.Starting or Phase.Started && _words.Values.All(word => word.Stage == Stage.Removed || AllowsStuckCalls);
                Check(isLegal, callback, peer, _phase.ToString());
                _phase = callback == Callback.OnStart ? Phase.Starting : Phase.Stopped;
                return;
            }

            Word? word = _words.GetValueOrDefault(peer);
            bool fits = _phase == Phase.Started && callback switch
            {
                Callback.InitPeer => word is null && !_present.ContainsKey(peer.Id),
                Callback.AddPeer => word is { Stage: Stage.Initialised },
                Callback.Receive => word is { Stage: Stage.Initialised or Stage.Adding or Stage.Added, IsReceiving: false },
                _ => word is { Stage: Stage.Initialised or Stage.Added, IsReceiving: false } || (AllowsStuckCalls && word is { Stage: < Stage.Removing }),
            };
            Check(fits, callback, peer, $"{_phase}, {word}");
            word ??= _words[peer] = new Word();
            switch (callback)
            {
                case Callback.InitPeer:
                    _present[peer.Id] = word;
                    break;
                case Callback.AddPeer:
                    word.Stage = Stage.Adding;
                    break;
                case Callback.Receive:
                    word.IsReceiving = true;
                    break;
                default:
                    word.Stage = Stage.Removing;
                    break;
            }
        }
    }

    public void End(Callback callback, IPeer? peer = null)
    {
        lock (_gate)
        {
            if (peer is null)
            {
                _phase = callback == Callback.OnStart ? Phase.Started : _phase;
                return;
            }

            Word word = _words[peer];
            switch (callback)
            {
                case Callback.InitPeer when word.Stage == Stage.Initialising:
                    word.Stage = Stage.Initialised;
                    break;
                case Callback.AddPeer:
                    word.Stage = word.Stage == Stage.Adding ? Stage.Added : word.Stage;
                    word.WasAdded = true;
                    break;
                case Callback.Receive:
                    word.IsReceiving = false;
                    break;
                case Callback.RemovePeer:
                    word.Stage = Stage.Removed;
                    _present.Remove(peer.Id);
                    break;
            }
        }
    }

    private int Count(Func<Word, bool> predicate)
    {
        lock (_gate)
        {
            return _words.Values.Count(predicate);
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

    private sealed class Word
    {
        public Stage Stage { get; set; }

        public bool IsReceiving { get; set; }

        public bool WasAdded { get; set; }

        public override string ToString() => $"{Stage}{(IsReceiving ? ", receiving" : "")}";
    }
}
