namespace Pipeline.Experiments.Comparing;

/// <summary>A way to bring messages of different kinds over one connection, and to have many connections.</summary>
internal interface IMultiplexer
{
    /// <summary>Its name in tables and plots.</summary>
    string Name { get; }

    /// <summary>Connects two ends, both in this process.</summary>
    Task<ITwoStreams> OpenAsync(Receivers receivers, CancellationToken cancellationToken);

    /// <summary>Makes what connections share, and no connection yet.</summary>
    Task<IIdleConnections> PrepareIdleAsync(int connections, CancellationToken cancellationToken);
}

/// <summary>One connection over which bulk and small messages go. A message that is sent must not be changed.</summary>
internal interface ITwoStreams : IAsyncDisposable
{
    /// <summary>Sends a bulk message, and waits as long as there is no room for it. One at a time.</summary>
    ValueTask SendBulkAsync(ReadOnlyMemory<byte> message, CancellationToken cancellationToken);

    /// <summary>Sends a small message. One at a time.</summary>
    ValueTask SendSmallAsync(ReadOnlyMemory<byte> message, CancellationToken cancellationToken);
}

/// <summary>Connections over which nothing goes, each with both ends here and ready to receive.</summary>
internal interface IIdleConnections : IAsyncDisposable
{
    Task ConnectAsync(CancellationToken cancellationToken);
}

/// <summary>What is done with messages that come; those of one kind come one at a time.</summary>
internal sealed record Receivers(Action<ReadOnlySpan<byte>> Bulk, Action<ReadOnlySpan<byte>> Small)
{
    /// <summary>The most bytes of a message that counts as small.</summary>
    public const int MaxSmallSize = 4096;

    /// <summary>Deals with a message of either kind.</summary>
    public void Receive(ReadOnlySpan<byte> message) => (message.Length <= MaxSmallSize ? Small : Bulk)(message);
}
