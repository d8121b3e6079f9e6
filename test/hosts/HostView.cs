using System.Text.Json;
using System.Text.Json.Nodes;
using Pipeline.Cryptography;
using Pipeline.Diagnostics;

namespace Pipeline.Hosts;

/// <summary>What the node of a host has said of itself.</summary>
/// <param name="Address">Where it can be dialled.</param>
/// <param name="Status">What it said last; null before it has.</param>
/// <param name="Addresses">How many addresses it knows.</param>
/// <param name="Reports">How often it has said.</param>
internal sealed record HostView(string Address, SwitchStatus? Status = null, int Addresses = 0, int Reports = 0)
{
    public NodeId Id { get; } = NodeId.Parse(Address.Split('@')[0]);

    /// <summary>The view after another line of the node's output.</summary>
    public static HostView? After(HostView? view, string line)
    {
        JsonObject json = JsonNode.Parse(line)!.AsObject();
        return (string?)json["event"] switch
        {
            "started" => new HostView((string)json["address"]!),
            "status" => view! with
            {
                Status = json.Deserialize(SwitchStatus.JsonTypeInfo),
                Addresses = (int)json["addresses"]!["new"]! + (int)json["addresses"]!["old"]!,
                Reports = view.Reports + 1,
            },
            _ => view,
        };
    }
}
