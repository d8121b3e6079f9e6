using System.Collections.Immutable;
using System.Diagnostics.Metrics;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Protocols.Types;
using Pipeline.Reactors;

namespace Pipeline.Protocols.Observing;

/// <summary>Shows the evidence of broken rules that peers send: each piece once, whoever sends it. It passes nothing on.</summary>
/// <remarks>
/// A peer that sends what cannot be evidence is stopped, as the reference does; signatures are not checked, because that needs the validators of the height. So no evidence
/// makes a peer useful, see <c>SwitchOptions.LazyPeerTime</c>: anybody can make it up.
/// Source: the reference's evidence reactor at v0.38; <c>docs/concepts/protocols.md</c> has the limits.
/// </remarks>
public sealed class EvidenceObserverReactor : Reactor<EvidenceList>
{
    /// <summary>What the reactor is called.</summary>
    public const string ReactorName = "EVIDENCE";

    private readonly EvidenceObserverOptions _options;
    private readonly Fanout<ObservedEvidence> _told;

    // Guarded by _gate. Invariant: _hashes has the hashes of what is in _kept, of which there are at most MaxKept, and _counts how many are from each peer.
    private readonly Lock _gate = new();
    private readonly HashSet<string> _hashes = [];
    private readonly List<ObservedEvidence> _kept = [];
    private readonly Dictionary<NodeId, int> _counts = [];
    private Meter? _meter;
    private long _observed;
    private long _duplicates;
    private long _faults;

    /// <summary>Makes an observer.</summary>
    /// <param name="options">Settings, or null for the defaults.</param>
    public EvidenceObserverReactor(EvidenceObserverOptions? options = null)
        : base(ReactorName, StandardChannels.Evidence)
    {
        _options = options ?? new EvidenceObserverOptions();
        _told = new Fanout<ObservedEvidence>(_options.MaxKept, _options.MaxKept, static _ => 1);
    }

    /// <summary>The evidence that came last, of each peer, the oldest first; a snapshot that does not change.</summary>
    public ImmutableArray<ObservedEvidence> Kept
    {
        get
        {
            lock (_gate)
            {
                return [.. _kept];
            }
        }
    }

    /// <summary>How many pieces of evidence were new.</summary>
    public long Observed => Volatile.Read(ref _observed);

    /// <summary>How many had been seen.</summary>
    public long Duplicates => Volatile.Read(ref _duplicates);

    /// <summary>
    /// The evidence that comes from now on, until the node stops; a reader that is more than <see cref="EvidenceObserverOptions.MaxKept"/> behind misses the oldest.
    /// </summary>
    /// <remarks>
    /// It listens from this call on. Until its enumerator is disposed, as <c>await foreach</c> does, or <paramref name="cancellationToken"/> is cancelled, whether anybody
    /// enumerates it or not, it holds what is not read.
    /// </remarks>
    /// <param name="cancellationToken">Ends it.</param>
    public IAsyncEnumerable<ObservedEvidence> ReadAsync(CancellationToken cancellationToken = default) => _told.ReadAsync(cancellationToken);

    /// <inheritdoc />
    protected override ValueTask OnStartAsync(CancellationToken cancellationToken)
    {
        _meter = ReactorMeter.Create(_options.MeterFactory, Switch.NodeInfo, out KeyValuePair<string, object?> chain);
        _meter.CreateObservableCounter(
            "pipeline_evidence_total",
            () => (Measurement<long>[])[new(Observed, chain, new("outcome", "new")), new(Duplicates, chain, new("outcome", "duplicate")), new(Volatile.Read(ref _faults), chain, new("outcome", "invalid"))],
            "{evidence}",
            "Evidence that peers sent, by what became of it.");
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc />
    protected override ValueTask OnStopAsync()
    {
        _told.Complete();
        _meter?.Dispose();
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc />
    protected override ValueTask ReceiveAsync(Envelope<EvidenceList> envelope, CancellationToken cancellationToken)
    {
        IPeer peer = envelope.Peer;
        if (envelope.Message.Evidence.Count > _options.MaxReceived)
        {
            Stop(peer, $"It has sent {envelope.Message.Evidence.Count} pieces of evidence in one message; there may be {_options.MaxReceived}.");
            return ValueTask.CompletedTask;
        }

        foreach (Evidence evidence in envelope.Message.Evidence)
        {
            if (ObservedEvidence.FindFault(evidence) is { } fault)
            {
                Stop(peer, $"It has sent what cannot be evidence. {fault}");
                return ValueTask.CompletedTask;
            }

            string hash = ObservedEvidence.HashOf(evidence);
            lock (_gate)
            {
                if (!_hashes.Add(hash))
                {
                    _duplicates++;
                    continue;
                }

                ObservedEvidence observed = ObservedEvidence.Create(evidence, hash, _options.MaxValidators, peer.Id, _options.TimeProvider.GetUtcNow());
                _observed++;
                Keep(observed);

                // Within the lock, so that all readers see one order; it never waits.
                _told.Tell(observed);
            }
        }

        return ValueTask.CompletedTask;
    }

    // Who sends the most makes room, so that none pushes out what others have sent.
    private void Keep(ObservedEvidence observed)
    {
        _kept.Add(observed);
        _counts[observed.From] = _counts.GetValueOrDefault(observed.From) + 1;
        if (_kept.Count <= _options.MaxKept)
        {
            return;
        }

        NodeId most = _counts.MaxBy(count => count.Value).Key;
        int oldest = _kept.FindIndex(kept => kept.From == most);
        _hashes.Remove(_kept[oldest].Hash);
        _kept.RemoveAt(oldest);
        if (--_counts[most] == 0)
        {
            _counts.Remove(most);
        }
    }

    private void Stop(IPeer peer, string why)
    {
        Interlocked.Increment(ref _faults);
        peer.Stop(new DisconnectReason(DisconnectKind.ProtocolViolation, why));
    }
}
