namespace Appliance;

/// <summary>What a command's exit code says; part of the public interface.</summary>
public static class ExitCodes
{
    /// <summary>Done.</summary>
    public const int Ok = 0;

    /// <summary>It was tried and failed; standard error says why.</summary>
    public const int Failed = 1;

    /// <summary>The command line was wrong; nothing was tried.</summary>
    public const int Usage = 2;

    /// <summary>No appliance answers.</summary>
    public const int Unreachable = 3;

    /// <summary>It runs, but not as it should.</summary>
    public const int Degraded = 4;
}
