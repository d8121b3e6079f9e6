using Pipeline.Wire;

namespace Pipeline.Transport;

/// <summary>What all steps of a handshake share: both sides speak at once, within one deadline, and every failure has a reason.</summary>
internal static class HandshakeStep
{
    /// <summary>Runs a handshake within <paramref name="timeout"/> and turns what can go wrong on the way into <see cref="HandshakeException"/>.</summary>
    /// <param name="handshake">The handshake.</param>
    /// <param name="closeWhenOver">The stream beneath, to be closed when the time is over, because not every stream heeds a token; or null.</param>
    /// <param name="timeout">How long it may take.</param>
    /// <param name="timeProvider">Where time comes from.</param>
    /// <param name="cancellationToken">Ends the attempt.</param>
    public static async Task<T> WithDeadlineAsync<T>(
        Func<CancellationToken, Task<T>> handshake,
        Stream? closeWhenOver,
        TimeSpan timeout,
        TimeProvider timeProvider,
        CancellationToken cancellationToken)
        where T : IAsyncDisposable
    {
        using CancellationTokenSource deadline = new(timeout, timeProvider);
        using CancellationTokenSource either = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, deadline.Token);
        using CancellationTokenRegistration over = either.Token.UnsafeRegister(static stream => ((Stream?)stream)?.Dispose(), closeWhenOver);
        try
        {
            T established = await handshake(either.Token).ConfigureAwait(false);
            if (over.Unregister())
            {
                return established;
            }

            // The time was over at the very last moment, and the stream is closed.
            await established.DisposeAsync().ConfigureAwait(false);
            throw new OperationCanceledException(either.Token);
        }
        catch (HandshakeException)
        {
            throw;
        }
        catch (Exception) when (cancellationToken.IsCancellationRequested)
        {
            throw new OperationCanceledException("The handshake was cancelled.", cancellationToken);
        }
        catch (Exception e) when (deadline.IsCancellationRequested)
        {
            throw new HandshakeException(
                HandshakeFailure.Timeout,
                $"The remote did not finish the handshake within {timeout.TotalSeconds:0.###} s.",
                e);
        }
        catch (SecretConnectionException e)
        {
            throw new HandshakeException(
                e.Fault switch
                {
                    SecretConnectionFault.InvalidFrameLength => HandshakeFailure.InvalidFrameLength,
                    SecretConnectionFault.TruncatedFrame => HandshakeFailure.ConnectionClosed,
                    _ => HandshakeFailure.FrameNotAuthentic,
                },
                e.Message,
                e);
        }
        catch (DelimitedMessageException e)
        {
            throw new HandshakeException(HandshakeFailure.ConnectionClosed, $"The remote closed the connection during the handshake. {e.Message}", e);
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException)
        {
            throw new HandshakeException(HandshakeFailure.ConnectionClosed, $"The connection broke during the handshake: {e.Message}", e);
        }
    }

    /// <summary>
    /// Sends <paramref name="ours"/> and reads the remote's at the same time: neither side waits for the other to begin. What was
    /// read counts even when sending failed, because a remote may say who it is and hang up.
    /// </summary>
    public static async Task<T> ExchangeAsync<T>(
        Stream stream,
        ReadOnlyMemory<byte> ours,
        Func<CancellationToken, Task<T>> read,
        CancellationToken cancellationToken)
    {
        using CancellationTokenSource stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Task write = WriteAsync(stream, ours, stop.Token);
        T message;
        try
        {
            message = await read(stop.Token).ConfigureAwait(false);
        }
        catch
        {
            await stop.CancelAsync().ConfigureAwait(false);
            await write.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            throw;
        }

        await write.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        cancellationToken.ThrowIfCancellationRequested();
        return message;
    }

    private static async Task WriteAsync(Stream stream, ReadOnlyMemory<byte> message, CancellationToken cancellationToken)
    {
        await stream.WriteAsync(message, cancellationToken).ConfigureAwait(false);
        await stream.FlushAsync(cancellationToken).ConfigureAwait(false);
    }
}
