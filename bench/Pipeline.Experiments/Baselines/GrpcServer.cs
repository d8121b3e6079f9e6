using System.Net;
using System.Net.Security;
using System.Threading.Channels;
using Grpc.Core;
using Grpc.Net.Client;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Pipeline.Experiments.Baselines.Protos;

namespace Pipeline.Experiments.Baselines;

/// <summary>Kestrel with the service of <c>bulk.proto</c> over HTTP/2 with TLS.</summary>
internal sealed class GrpcServer : IAsyncDisposable
{
    private const int Window = 16 << 20;

    private readonly TlsIdentity _identity = new();
    private readonly Channel<GrpcSender> _pours = Channel.CreateUnbounded<GrpcSender>();
    private readonly Action<ReadOnlySpan<byte>> _receive;
    private readonly WebApplication _application;

    private GrpcServer(Action<ReadOnlySpan<byte>> receive)
    {
        _receive = receive;
        WebApplicationBuilder builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseKestrelHttpsConfiguration();
        builder.WebHost.ConfigureKestrel(kestrel =>
        {
            kestrel.Limits.MaxRequestBodySize = null;
            kestrel.Limits.MinRequestBodyDataRate = null;
            kestrel.Limits.MinResponseDataRate = null;

            // One connection for all senders, and windows that are not what is measured.
            kestrel.Limits.Http2.MaxStreamsPerConnection = 1000;
            kestrel.Limits.Http2.InitialConnectionWindowSize = Window;
            kestrel.Limits.Http2.InitialStreamWindowSize = Window;
            kestrel.Listen(IPAddress.Loopback, 0, endPoint =>
            {
                endPoint.Protocols = HttpProtocols.Http2;
                endPoint.UseHttps(_identity.Certificate);
            });
        });
        builder.Services.AddGrpc(grpc => grpc.MaxReceiveMessageSize = null);
        builder.Services.AddSingleton(this);
        _application = builder.Build();
        _application.MapGrpcService<Service>();
    }

    /// <summary>Starts a server.</summary>
    /// <param name="receive">Is handed each message that a client sends; those of different calls at once.</param>
    /// <param name="cancellationToken">Ends the start.</param>
    public static async Task<GrpcServer> StartAsync(Action<ReadOnlySpan<byte>> receive, CancellationToken cancellationToken)
    {
        GrpcServer server = new(receive);
        try
        {
            await server._application.StartAsync(cancellationToken);
            return server;
        }
        catch
        {
            await server.DisposeAsync();
            throw;
        }
    }

    /// <summary>A client with a connection of its own, which is made with its first call.</summary>
    public GrpcChannel CreateChannel() => GrpcChannel.ForAddress(new Uri(_application.Urls.Single()), new GrpcChannelOptions
    {
        DisposeHttpClient = true,
        MaxReceiveMessageSize = null,
        HttpHandler = new SocketsHttpHandler
        {
            InitialHttp2StreamWindowSize = Window,
            SslOptions = new SslClientAuthenticationOptions { RemoteCertificateValidationCallback = _identity.Client.RemoteCertificateValidationCallback },
        },
    });

    /// <summary>The server's side of the next call of <c>Pour</c>.</summary>
    public ValueTask<GrpcSender> AcceptPourAsync(CancellationToken cancellationToken) => _pours.Reader.ReadAsync(cancellationToken);

    public async ValueTask DisposeAsync()
    {
        await _application.DisposeAsync();
        await _identity.DisposeAsync();
    }

    private sealed class Service(GrpcServer server) : Bulk.BulkBase
    {
        public override async Task<BulkEnd> Carry(IAsyncStreamReader<BulkMessage> requestStream, ServerCallContext context)
        {
            BulkEnd end = new();
            while (await requestStream.MoveNext(CancellationToken.None))
            {
                server._receive(requestStream.Current.Data.Span);
                end.Received++;
            }

            return end;
        }

        public override async Task Pour(BulkBegin request, IServerStreamWriter<BulkMessage> responseStream, ServerCallContext context)
        {
            GrpcSender sender = new(responseStream);
            server._pours.Writer.TryWrite(sender);
            await sender.Completion.WaitAsync(context.CancellationToken);
        }
    }
}
