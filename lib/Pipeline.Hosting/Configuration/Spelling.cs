namespace Pipeline.Hosting.Configuration;

/// <summary>What somebody may have meant.</summary>
internal static class Spelling
{
    /// <summary>The one of <paramref name="known"/> that is nearest to <paramref name="written"/>; null when none is near.</summary>
    public static string? Nearest(string written, IEnumerable<string> known)
    {
        // Nobody mistypes that much, and the distance takes time in the square of the length.
        if (written.Length > 100)
        {
            return null;
        }

        string last = LastPart(written);
        (string Name, int Distance)[] near =
        [
            .. from name in known
               let distance = Distance(last, LastPart(name))
               where distance <= Math.Clamp(LastPart(name).Length / 4, 1, 3)
               orderby distance
               select (name, distance),
        ];
        return near is [var nearest, ..] ? nearest.Name : null;
    }

    // A key may be in the wrong section, and the section does not make it any more alike.
    private static string LastPart(string name) => name[(name.LastIndexOf('.') + 1)..].ToLowerInvariant().Replace('-', '_');

    /// <summary>How many letters have to be added, left out, changed or swapped with the next.</summary>
    private static int Distance(string one, string other)
    {
        int[,] distance = new int[one.Length + 1, other.Length + 1];
        for (int i = 0; i <= one.Length; i++)
        {
            for (int j = 0; j <= other.Length; j++)
            {
                if (i == 0 || j == 0)
                {
                    distance[i, j] = i + j;
                    continue;
                }

                int changed = distance[i - 1, j - 1] + (one[i - 1] == other[j - 1] ? 0 : 1);
                int best = Math.Min(changed, Math.Min(distance[i - 1, j], distance[i, j - 1]) + 1);
                bool isSwapped = i > 1 && j > 1 && one[i - 1] == other[j - 2] && one[i - 2] == other[j - 1];
                distance[i, j] = isSwapped ? Math.Min(best, distance[i - 2, j - 2] + 1) : best;
            }
        }

        return distance[one.Length, other.Length];
    }
}
