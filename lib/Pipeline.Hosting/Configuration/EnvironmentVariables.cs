using System.Collections;

namespace Pipeline.Hosting.Configuration;

/// <summary>The variables that the process was started with.</summary>
internal static class EnvironmentVariables
{
    public static IReadOnlyDictionary<string, string> OfProcess()
    {
        Dictionary<string, string> variables = [];
        foreach (DictionaryEntry variable in Environment.GetEnvironmentVariables())
        {
            variables[(string)variable.Key] = (string?)variable.Value ?? "";
        }

        return variables;
    }
}
