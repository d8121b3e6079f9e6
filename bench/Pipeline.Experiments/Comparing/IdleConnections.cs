namespace Pipeline.Experiments.Comparing;

/// <summary>Connections that are made one by one, some at once.</summary>
/// <param name="count">How many.</param>
/// <param name="connect">Makes one.</param>
/// <param name="shared">What they share, to be disposed of after them.</param>
internal sealed class IdleConnections(int count, Func<CancellationToken, Task<IAsyncDisposable>> connect, params IEnumerable<IAsyncDisposable> shared) : IIdleConnections
{
    public const int AtOnce = 16;

    private readonly IAsyncDisposable?[] _connections = new IAsyncDisposable?[count];

    public Task ConnectAsync(CancellationToken cancellationToken) => Parallel.ForAsync(
        0,
        count,
        new ParallelOptions { MaxDegreeOfParallelism = AtOnce, CancellationToken = cancellationToken },
        async (i, token) => _connections[i] = await connect(token));

    public async ValueTask DisposeAsync()
    {
        foreach (IAsyncDisposable owned in _connections.OfType<IAsyncDisposable>().Concat(shared))
        {
            await owned.DisposeAsync();
        }
    }
}
