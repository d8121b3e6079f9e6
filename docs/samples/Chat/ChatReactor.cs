using Pipeline.Dataflow;
using Pipeline.Reactors;

namespace Pipeline.Samples.Chat;

/// <summary>A chat: what one says, all that are connected to it hear. A reactor in its simplest form, a class with overrides.</summary>
/// <param name="output">Where the talk is shown.</param>
public sealed class ChatReactor(TextWriter output) : Reactor<Line>("chat", Channel)
{
    /// <summary>
    /// Lines are short, and a peer that does not read for 32 lines has to be waited for. A peer that talks faster than we can show it is made
    /// to wait as well, by <see cref="FullLanePolicy.Wait"/>, the default.
    /// </summary>
    public static readonly ChannelDescriptor<Line> Channel = new(0xC0, "chat", Line.Parser)
    {
        MaxMessageSize = 4 * 1024,
        SendQueueCapacity = 32,
        ReceiveQueueCapacity = 32,
    };

    // Peers talk, come and go at the same time.
    private readonly TextWriter _output = TextWriter.Synchronized(output);

    /// <summary>Says something to everybody.</summary>
    public async Task SayAsync(string text)
    {
        // Waits for room where there is none, and tells for each peer what became of it.
        foreach ((IPeer peer, SendResult result) in await Switch.BroadcastAsync(Channel, new Line { Text = text }))
        {
            if (result != SendResult.Queued)
            {
                _output.WriteLine($"* {peer.NodeInfo.Moniker} does not hear you: {result}");
            }
        }
    }

    /// <inheritdoc />
    protected override ValueTask AddPeerAsync(IPeer peer, CancellationToken cancellationToken) => Show($"* {peer.NodeInfo.Moniker} is here");

    /// <inheritdoc />
    protected override ValueTask RemovePeerAsync(IPeer peer, DisconnectReason reason) =>
        Show($"* {peer.NodeInfo.Moniker} has left. {reason.Message}");

    /// <inheritdoc />
    protected override ValueTask ReceiveAsync(Envelope<Line> envelope, CancellationToken cancellationToken)
    {
        // Whoever connects can send anything: no control characters for our terminal.
        string text = string.Concat(envelope.Message.Text.Where(c => !char.IsControl(c)));
        return Show($"{envelope.Peer.NodeInfo.Moniker}: {text}");
    }

    private ValueTask Show(string line)
    {
        _output.WriteLine(line);
        return ValueTask.CompletedTask;
    }
}
