using Pipeline.Protocols;
using Pipeline.Reactors;

namespace Pipeline.Cli.Demo.Nodes;

/// <summary>
/// All protocols of one of the peers: it has every standard channel, sees bytes alone, as a relay does, and passes over what it is sent.
/// </summary>
internal sealed class PlayingReactor() : Reactor("player", StandardChannels.All);
