using Nerdbank.Streams;

namespace Pipeline.Experiments.Baselines;

/// <summary>One channel of Nerdbank.Streams' <see cref="MultiplexingStream"/> over <see cref="System.Net.Security.SslStream"/>.</summary>
internal sealed class NerdbankBaseline : StreamBaseline
{
    private const string ChannelName = "bulk";

    // As much as a receiving lane of ours may hold, so that it is not a window that is measured.
    private const long Window = 16 << 20;

    public override string Name => "nerdbank";

    protected override async Task<Ends> ConnectAsync(CancellationToken cancellationToken)
    {
        Loopback loopback = await Loopback.ConnectWithTlsAsync(cancellationToken);
        MultiplexingStream near = MultiplexingStream.Create(loopback.Near, CreateOptions());
        MultiplexingStream far = MultiplexingStream.Create(loopback.Far, CreateOptions());
        Task<MultiplexingStream.Channel> offered = near.OfferChannelAsync(ChannelName, cancellationToken);
        MultiplexingStream.Channel accepted = await far.AcceptChannelAsync(ChannelName, cancellationToken);
        return new Ends((await offered).Output, accepted.Input, near, far, loopback);
    }

    // The third version of its protocol begins without a handshake.
    private static MultiplexingStream.Options CreateOptions() => new() { ProtocolMajorVersion = 3, DefaultChannelReceivingWindowSize = Window };
}
