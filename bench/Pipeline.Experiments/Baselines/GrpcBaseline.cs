using Grpc.Core;
using Grpc.Net.Client;
using Pipeline.Experiments.Baselines.Protos;
using Pipeline.Experiments.Draining;
using Pipeline.Experiments.Measuring;

namespace Pipeline.Experiments.Baselines;

/// <summary>
/// gRPC over TLS: each sender has a call of its own, all over one HTTP/2 connection to Kestrel. The client may stream to the server, or the server to
/// the client; both are tried, and the better counts.
/// </summary>
internal sealed class GrpcBaseline : Contender
{
    public override string Name => "grpc";

    public override async Task<Drained> CarryAsync(RunContext context, Load load)
    {
        try
        {
            Drained[] both = [await CarryUpAsync(context, load), await CarryDownAsync(context, load)];
            return Array.Find(both, run => run.Received != run.Sent || run.OutOfOrder > 0) ?? both.MaxBy(run => run.MegabytesPerSecond)!;
        }
        catch (RpcException e)
        {
            context.CancellationToken.ThrowIfCancellationRequested();
            throw new IOException($"A call ended in the middle of the experiment. {e.Status}", e);
        }
    }

    private static async Task<Drained> CarryUpAsync(RunContext context, Load load)
    {
        Drain drain = new(load);
        await using GrpcServer server = await GrpcServer.StartAsync(
            message =>
            {
                // Calls of several senders run beside each other.
                lock (drain)
                {
                    drain.Receive(message);
                }
            },
            context.CancellationToken);
        using GrpcChannel channel = server.CreateChannel();
        Bulk.BulkClient client = new(channel);
        AsyncClientStreamingCall<BulkMessage, BulkEnd>[] calls = [.. Enumerable.Range(0, load.Senders).Select(_ => client.Carry(cancellationToken: context.CancellationToken))];
        try
        {
            return await drain.MeasureAsync(context, [.. calls.Select(call => new GrpcSender(call.RequestStream))]);
        }
        finally
        {
            Array.ForEach(calls, call => call.Dispose());
        }
    }

    private static async Task<Drained> CarryDownAsync(RunContext context, Load load)
    {
        Drain drain = new(load);
        await using GrpcServer server = await GrpcServer.StartAsync(static _ => { }, context.CancellationToken);
        using GrpcChannel channel = server.CreateChannel();
        Bulk.BulkClient client = new(channel);
        List<AsyncServerStreamingCall<BulkMessage>> calls = [];
        List<GrpcSender> senders = [];
        try
        {
            for (int i = 0; i < load.Senders; i++)
            {
                calls.Add(client.Pour(new BulkBegin(), cancellationToken: context.CancellationToken));
                senders.Add(await server.AcceptPourAsync(context.CancellationToken));
            }

            Task receiving = Task.WhenAll(calls.Select(call => Task.Run(() => ReceiveAsync(call.ResponseStream))));
            Drained drained = await drain.MeasureAsync(context, senders);
            await receiving;
            return drained;
        }
        finally
        {
            calls.ForEach(call => call.Dispose());
        }

        async Task ReceiveAsync(IAsyncStreamReader<BulkMessage> stream)
        {
            while (await stream.MoveNext(CancellationToken.None))
            {
                lock (drain)
                {
                    drain.Receive(stream.Current.Data.Span);
                }
            }
        }
    }
}
