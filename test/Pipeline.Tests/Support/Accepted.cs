namespace Pipeline.Tests.Support;

/// <summary>
/// Text in the repository that must be what the code makes of it, so that a change is seen. Run the test with the environment variable
/// <see cref="Variable"/> set to 1 to accept a change: the text is rewritten.
/// </summary>
internal static class Accepted
{
    public const string Variable = "PIPELINE_ACCEPT";

    /// <summary>Compares a whole file, or rewrites it.</summary>
    public static void AssertFile(string name, IReadOnlyList<string> lines)
    {
        string path = Path.Combine(Repository.Root, name);
        if (IsAccepting)
        {
            Write(path, lines);
        }

        AssertSame(name, File.Exists(path) ? File.ReadAllLines(path) : [], lines);
    }

    /// <summary>Compares the lines between two others in a file, or rewrites them.</summary>
    public static void AssertSection(string name, string before, string after, IReadOnlyList<string> lines)
    {
        string path = Path.Combine(Repository.Root, name);
        List<string> all = [.. File.ReadAllLines(path)];
        int begin = all.IndexOf(before) + 1;
        int end = all.IndexOf(after, begin);
        Assert.That(begin, Is.Positive, $"{name} has no line '{before}'.");
        Assert.That(end, Is.GreaterThanOrEqualTo(begin), $"{name} has no line '{after}' below '{before}'.");
        if (IsAccepting)
        {
            Write(path, [.. all[..begin], .. lines, .. all[end..]]);
        }
        else
        {
            AssertSame(name, all[begin..end], lines);
        }
    }

    /// <summary>What differs, as <c>- was</c> and <c>+ is</c>; empty when nothing does.</summary>
    public static IReadOnlyList<string> Difference(IReadOnlyList<string> accepted, IReadOnlyList<string> actual)
    {
        // The longest common subsequence, in a table of what is left from each pair of places on.
        int[,] common = new int[accepted.Count + 1, actual.Count + 1];
        for (int i = accepted.Count - 1; i >= 0; i--)
        {
            for (int j = actual.Count - 1; j >= 0; j--)
            {
                common[i, j] = accepted[i] == actual[j] ? common[i + 1, j + 1] + 1 : Math.Max(common[i + 1, j], common[i, j + 1]);
            }
        }

        List<string> difference = [];
        int was = 0;
        int @is = 0;
        while (was < accepted.Count || @is < actual.Count)
        {
            if (was < accepted.Count && @is < actual.Count && accepted[was] == actual[@is])
            {
                was++;
                @is++;
            }
            else if (@is == actual.Count || (was < accepted.Count && common[was + 1, @is] >= common[was, @is + 1]))
            {
                difference.Add($"- {accepted[was++]}");
            }
            else
            {
                difference.Add($"+ {actual[@is++]}");
            }
        }

        return difference;
    }

    private static void Write(string path, IEnumerable<string> lines) => File.WriteAllText(path, string.Join('\n', lines) + '\n');

    private static bool IsAccepting => Environment.GetEnvironmentVariable(Variable) == "1";

    private static void AssertSame(string name, IReadOnlyList<string> accepted, IReadOnlyList<string> actual) =>
        Assert.That(
            Difference(accepted, actual),
            Is.Empty,
            $"{name} does not say what the code does. To accept it as it is, run this test with {Variable}=1 and commit the file.");
}
