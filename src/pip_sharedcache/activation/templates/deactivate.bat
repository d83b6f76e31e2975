@REM Written by `pip-sharedcache store enable --conda`: pip is what it was before.
@REM each
@doskey /macros 2>nul | findstr /b /i /c:"@NAME@=" | findstr /c:"_launch.py" >nul && doskey @NAME@=
@REM end
