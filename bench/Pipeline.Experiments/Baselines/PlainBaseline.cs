namespace Pipeline.Experiments.Baselines;

/// <summary>System.IO.Pipelines over TCP, without encryption.</summary>
internal sealed class PlainBaseline : StreamBaseline
{
    public override string Name => "plain";

    protected override async Task<Ends> ConnectAsync(CancellationToken cancellationToken) => EndsOf(await Loopback.ConnectAsync(cancellationToken));
}
