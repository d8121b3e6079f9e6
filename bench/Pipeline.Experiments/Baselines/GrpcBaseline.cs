using System.Net;
using System.Net.Security;
using System.Security.Cryptography.X509Certificates;
using Google.Protobuf;
using Grpc.Core;
using Grpc.Net.Client;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Pipeline.Experiments.Baselines.Protos;
using Pipeline.Experiments.Draining;
using Pipeline.Experiments.Measuring;

namespace Pipeline.Experiments.Baselines;

/// <summary>gRPC over TLS: each sender has a client-streaming call of its own, all over one HTTP/2 connection to Kestrel.</summary>
internal sealed class GrpcBaseline : Contender
{
    // A flush for each small message is what nobody who wants throughput would do.
    private const int FlushEvery = 64 << 10;

    public override string Name => "grpc";

    public override async Task<Drained> CarryAsync(RunContext context, Load load)
    {
        Drain drain = new(load);
        using X509Certificate2 certificate = Loopback.CreateCertificate();
        string hash = certificate.GetCertHashString();
        await using WebApplication server = CreateServer(certificate, drain);
        await server.StartAsync(context.CancellationToken);
        using SocketsHttpHandler handler = new()
        {
            SslOptions = new SslClientAuthenticationOptions { RemoteCertificateValidationCallback = (_, remote, _, _) => remote?.GetCertHashString() == hash },
        };
        using GrpcChannel channel = GrpcChannel.ForAddress(new Uri(server.Urls.Single()), new GrpcChannelOptions { HttpHandler = handler });
        Bulk.BulkClient client = new(channel);
        List<CallSender> senders = [];
        try
        {
            for (int i = 0; i < load.Senders; i++)
            {
                senders.Add(new CallSender(client.Carry(cancellationToken: context.CancellationToken)));
            }

            return await drain.MeasureAsync(context, senders);
        }
        catch (RpcException e)
        {
            context.CancellationToken.ThrowIfCancellationRequested();
            throw new IOException($"A call ended in the middle of the experiment. {e.Status}", e);
        }
        finally
        {
            senders.ForEach(sender => sender.Dispose());
            await server.StopAsync(CancellationToken.None);
        }
    }

    private static WebApplication CreateServer(X509Certificate2 certificate, Drain drain)
    {
        WebApplicationBuilder builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseKestrelHttpsConfiguration();
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            kestrel.Limits.MaxRequestBodySize = null;
            kestrel.Limits.MinRequestBodyDataRate = null;

            // One connection for all senders, and windows that are not what is measured.
            kestrel.Limits.Http2.MaxStreamsPerConnection = 1000;
            kestrel.Limits.Http2.InitialConnectionWindowSize = 16 << 20;
            kestrel.Limits.Http2.InitialStreamWindowSize = 16 << 20;
            kestrel.Listen(IPAddress.Loopback, 0, endPoint =>
            {
                endPoint.Protocols = HttpProtocols.Http2;
                endPoint.UseHttps(certificate);
            });
        });
        builder.Services.AddGrpc(grpc => grpc.MaxReceiveMessageSize = null);
        builder.Services.AddSingleton(drain);
        WebApplication server = builder.Build();
        server.MapGrpcService<Service>();
        return server;
    }

    private sealed class Service(Drain drain) : Bulk.BulkBase
    {
        public override async Task<BulkEnd> Carry(IAsyncStreamReader<BulkMessage> requestStream, ServerCallContext context)
        {
            BulkEnd end = new();
            while (await requestStream.MoveNext(context.CancellationToken))
            {
                // Calls of several senders run beside each other.
                lock (drain)
                {
                    drain.Receive(requestStream.Current.Data.Span);
                }

                end.Received++;
            }

            return end;
        }
    }

    private sealed class CallSender(AsyncClientStreamingCall<BulkMessage, BulkEnd> call) : IMessageSender, IDisposable
    {
        private static readonly WriteOptions Gather = new(WriteFlags.BufferHint);

        private int _gathered;
        private long _sent;

        public ValueTask SendAsync(ReadOnlyMemory<byte> message, CancellationToken cancellationToken)
        {
            _sent++;
            _gathered += message.Length;
            bool isFull = _gathered >= FlushEvery;
            _gathered = isFull ? 0 : _gathered;
            call.RequestStream.WriteOptions = isFull ? WriteOptions.Default : Gather;

            // The bytes are written before the task ends, so they need no copy of their own.
            return new ValueTask(call.RequestStream.WriteAsync(new BulkMessage { Data = UnsafeByteOperations.UnsafeWrap(message) }, cancellationToken));
        }

        public async ValueTask FlushAsync(CancellationToken cancellationToken)
        {
            await call.RequestStream.CompleteAsync();
            BulkEnd end = await call.ResponseAsync.WaitAsync(cancellationToken);
            if (end.Received != _sent)
            {
                throw new IOException($"A call received {Readable.Number(end.Received)} of {Readable.Number(_sent)} messages.");
            }
        }

        public void Dispose() => call.Dispose();
    }
}
