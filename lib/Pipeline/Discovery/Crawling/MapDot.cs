using System.Text;
using Pipeline.Cryptography;

namespace Pipeline.Discovery.Crawling;

/// <summary>A map as a graph for GraphViz.</summary>
/// <remarks>Source: GraphViz, the DOT language.</remarks>
internal static class MapDot
{
    private const int ShortId = 8;

    public static void Write(TextWriter writer, NetworkMap map)
    {
        ArgumentNullException.ThrowIfNull(writer);
        writer.Write("digraph network {\n");
        writer.Write($"  label={Quoted($"{map.Network ?? "?"}, {map.StartedAt:yyyy-MM-dd HH:mm} UTC, {map.Nodes.Length} nodes")};\n");
        writer.Write("  node [shape=box, style=\"rounded,filled\", fontname=\"sans-serif\"];\n");
        writer.Write("  edge [color=\"#00000040\", arrowsize=0.5];\n");
        foreach (CrawledNode node in map.Nodes)
        {
            string label = $"{node.Info?.Moniker}\n{node.Id.ToString()[..ShortId]}".TrimStart('\n');
            string shape = node.IsSeed ? ", peripheries=2" : "";
            writer.Write($"  {Quoted(node.Id.ToString())} [label={Quoted(label)}, fillcolor={Quoted(ColourOf(node.Reachability))}, tooltip={Quoted(TooltipOf(node))}{shape}];\n");
        }

        foreach (CrawledNode node in map.Nodes)
        {
            foreach (NodeId told in node.Told)
            {
                writer.Write($"  {Quoted(node.Id.ToString())} -> {Quoted(told.ToString())};\n");
            }
        }

        writer.Write("}\n");
    }

    private static string TooltipOf(CrawledNode node) => $"{node.Addresses.FirstOrDefault()?.DialString} {node.Info?.Version} {node.Reachability}".Trim();

    private static string ColourOf(Reachability reachability) => reachability switch
    {
        Reachability.Reached => "#a6dba0",
        Reachability.Refused => "#fee090",
        Reachability.Unreachable => "#d9d9d9",
        Reachability.WrongIdentity => "#f4a582",
        Reachability.OtherNetwork => "#c2a5cf",
        Reachability.TimedOut => "#bdbdbd",
        _ => "#ffffff",
    };

    // Within quotes a backslash begins an escape of labels as well, and a remote may choose its moniker.
    private static string Quoted(string text)
    {
        StringBuilder quoted = new("\"");
        foreach (char c in text)
        {
            quoted = c switch
            {
                '\n' => quoted.Append("\\n"),
                '"' or '\\' => quoted.Append('\\').Append(c),
                _ when char.IsControl(c) => quoted.Append('?'),
                _ => quoted.Append(c),
            };
        }

        return quoted.Append('"').ToString();
    }
}
