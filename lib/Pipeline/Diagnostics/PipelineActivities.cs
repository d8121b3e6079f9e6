using System.Diagnostics;
using System.Net;
using Pipeline.Cryptography;
using Pipeline.Dataflow;
using Pipeline.Transport;

namespace Pipeline.Diagnostics;

/// <summary>
/// The activities of nodes: a handshake, and the life of a connection. None is the current one of whoever starts it: what a reactor does is
/// not part of a connection that lives for days.
/// </summary>
internal static class PipelineActivities
{
    public const string Handshake = "pipeline.handshake";
    public const string Connection = "pipeline.connection";

    private const string Direction = "pipeline.direction";
    private const string PeerId = "pipeline.peer.id";
    private const string Moniker = "pipeline.peer.moniker";
    private const string Outcome = "pipeline.outcome";

    private static readonly ActivitySource Source = new(PipelineDiagnostics.ActivitySourceName, PipelineDiagnostics.Version);

    /// <summary>Begins a handshake, as a part of what the caller does at the moment. Null when nobody listens.</summary>
    /// <param name="remote">The other end.</param>
    /// <param name="dialled">The node that must answer; null when the remote dialled.</param>
    public static Activity? StartHandshake(IPEndPoint remote, NodeId? dialled)
    {
        Activity? activity = Start(Handshake, dialled is not null, remote, Activity.Current?.Context ?? default, link: null);
        if (dialled is { } id)
        {
            activity?.SetTag(PeerId, id.ToString());
        }

        return activity;
    }

    /// <summary>A handshake has made a peer known, or failed. Does nothing without an activity.</summary>
    public static void EndHandshake(Activity? activity, NodeInfo? remote, Exception? failure)
    {
        if (activity is null)
        {
            return;
        }

        NodeId? id = remote?.Id ?? (failure as HandshakeException)?.RemoteId;
        if (id is { IsEmpty: false } known)
        {
            activity.SetTag(PeerId, known.ToString());
        }

        activity.SetTag(Outcome, PipelineMetrics.OutcomeOf(failure));
        if (failure is not null)
        {
            activity.SetStatus(ActivityStatusCode.Error, failure.Message).AddException(failure);
        }

        Stop(activity);
    }

    /// <summary>A connection has become a peer. Null when nobody listens.</summary>
    /// <param name="peer">The peer.</param>
    /// <param name="handshake">Its handshake, which it is linked to; or null.</param>
    public static Activity? StartConnection(IPeer peer, Activity? handshake) =>
        Start(Connection, peer.IsOutbound, peer.RemoteEndPoint, parent: default, handshake)
            ?.SetTag(PeerId, peer.Id.ToString())
            .SetTag(Moniker, peer.NodeInfo.Moniker);

    /// <summary>A peer is gone. Does nothing without an activity.</summary>
    public static void EndConnection(Activity? activity, IPeer peer, DisconnectReason reason)
    {
        if (activity is null)
        {
            return;
        }

        ConnectionStatus status = peer.GetStatus();
        activity
            .SetTag(Outcome, SnakeCase<DisconnectKind>.Of(reason.Kind))
            .SetTag("pipeline.reason", reason.Message)
            .SetTag("pipeline.bytes_sent", status.BytesSent)
            .SetTag("pipeline.bytes_received", status.BytesReceived)
            .SetTag("pipeline.messages_sent", status.Channels.Sum(channel => channel.MessagesSent))
            .SetTag("pipeline.messages_received", status.Channels.Sum(channel => channel.MessagesReceived));
        if (IsFailure(reason.Kind))
        {
            activity.SetStatus(ActivityStatusCode.Error, reason.Message);
        }

        if (reason.Exception is not null)
        {
            activity.AddException(reason.Exception);
        }

        Stop(activity);
    }

    private static bool IsFailure(DisconnectKind kind) =>
        kind is DisconnectKind.ConnectionLost
            or DisconnectKind.ProtocolViolation
            or DisconnectKind.PongTimeout
            or DisconnectKind.LaneFull
            or DisconnectKind.ReactorFailed
            or DisconnectKind.Misbehaved;

    private static Activity? Start(string name, bool isOutbound, IPEndPoint remote, ActivityContext parent, Activity? link)
    {
        if (!Source.HasListeners())
        {
            return null;
        }

        Activity? current = Activity.Current;
        try
        {
            // Without a parent, the current one would be it.
            Activity.Current = null;
            return Source.StartActivity(
                name,
                isOutbound ? ActivityKind.Client : ActivityKind.Server,
                parent,
                [
                    new(Direction, PipelineDiagnostics.DirectionOf(isOutbound)),
                    new("network.peer.address", remote.Address.ToString()),
                    new("network.peer.port", remote.Port),
                ],
                link is null ? null : [new ActivityLink(link.Context)]);
        }
        finally
        {
            Activity.Current = current;
        }
    }

    private static void Stop(Activity activity)
    {
        // To stop one makes the one current that was when it started.
        Activity? current = Activity.Current;
        activity.Stop();
        Activity.Current = current;
    }
}
