namespace Pipeline.Tests.Architecture;

/// <summary>That something in one folder of lib/Pipeline uses something in another.</summary>
internal sealed record FolderUse(string User, string Used, string Where)
{
    public override string ToString() => $"{User} uses {Used}: {Where}";
}

/// <summary>Which folders of lib/Pipeline may use which: the order of the house.</summary>
internal static class FolderOrder
{
    public const string Diagnostics = "Diagnostics";

    /// <summary>Each may use those before it; the first two use nothing, not even each other. Diagnostics stands apart.</summary>
    public static readonly string[] Folders =
        ["Wire", "Cryptography", "Transport", "Dataflow", "Reactors", "Switching", "Discovery", Diagnostics];

    private static readonly string[] Foundations = ["Wire", "Cryptography"];

    /// <summary>Everybody may use Diagnostics; that it does not use back is for <see cref="FindCycle"/> to say.</summary>
    public static bool Allows(string user, string used) =>
        user == used
        || used == Diagnostics
        || (!Foundations.Contains(user) && Array.IndexOf(Folders, used) < Array.IndexOf(Folders, user));

    /// <summary>A way along <paramref name="uses"/> that comes back to where it began; empty when there is none.</summary>
    public static IReadOnlyList<string> FindCycle(IEnumerable<FolderUse> uses)
    {
        ILookup<string, string> next = uses.Where(use => use.User != use.Used).ToLookup(use => use.User, use => use.Used);
        return next.Select(group => Follow([group.Key])).FirstOrDefault(cycle => cycle.Count > 0) ?? [];

        IReadOnlyList<string> Follow(IReadOnlyList<string> way)
        {
            foreach (string folder in next[way[^1]].Distinct())
            {
                IReadOnlyList<string> cycle = folder == way[0] ? [.. way, folder] : way.Contains(folder) ? [] : Follow([.. way, folder]);
                if (cycle.Count > 0)
                {
                    return cycle;
                }
            }

            return [];
        }
    }

    /// <summary>The folder of a namespace such as <c>Pipeline.Wire.Protos</c>; null when it is none of lib/Pipeline.</summary>
    public static string? FolderOf(string namespaceName) =>
        namespaceName.Split('.') is ["Pipeline", string folder, ..] && Folders.Contains(folder) ? folder : null;
}
