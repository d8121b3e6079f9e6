namespace Pipeline.Experiments.Baselines;

/// <summary>System.IO.Pipelines over <see cref="System.Net.Security.SslStream"/>.</summary>
internal sealed class TlsBaseline : StreamBaseline
{
    public override string Name => "tls";

    protected override async Task<Ends> ConnectAsync(CancellationToken cancellationToken) => EndsOf(await Loopback.ConnectWithTlsAsync(cancellationToken));
}
