@REM Written by `pip-sharedcache store enable --conda`: here pip installs through the shared store.
@REM each
@doskey /macros 2>nul | findstr /b /i /c:"@NAME@=" >nul || @FUNCTION@
@REM end
