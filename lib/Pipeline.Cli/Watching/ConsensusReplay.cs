using System.Globalization;
using Pipeline.Cli.Traces;
using Pipeline.Cryptography;
using Pipeline.Protocols;
using Pipeline.Protocols.Consensus;

namespace Pipeline.Cli.Watching;

/// <summary>Puts the consensus messages of a recording into an observer, as fast as it goes.</summary>
internal static class ConsensusReplay
{
    // A recording does not say when it was made.
    public static DateTimeOffset Start { get; } = DateTimeOffset.UnixEpoch;

    /// <summary>Replays; calls <paramref name="changed"/> with the observer after each message that it took in.</summary>
    public static ConsensusObserver Run(Trace trace, ConsensusObserverOptions options, Action<ConsensusObserver>? changed = null)
    {
        ConsensusObserver observer = new(options);
        for (int peer = 0; peer < trace.Peers; peer++)
        {
            observer.Join(IdOf(peer), string.Create(CultureInfo.InvariantCulture, $"peer {peer}"));
        }

        foreach (TraceMessage message in trace.Messages)
        {
            // The trace was checked when it was read: what is of this channel is a message of it.
            if (message.Channel.Id >= StandardChannels.ConsensusState.Id && message.Channel.Id <= StandardChannels.ConsensusVoteSetBits.Id)
            {
                observer.Observe(IdOf(message.Peer), message.Channel, Message.Parser.ParseFrom(message.Data.Span), Start + message.At);
                changed?.Invoke(observer);
            }
        }

        return observer;
    }

    // A recording does not say who its peers were either.
    private static NodeId IdOf(int peer) => NodeId.Parse(peer.ToString("x40", CultureInfo.InvariantCulture));
}
